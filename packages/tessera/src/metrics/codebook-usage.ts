/** How much of its codebook a tokenizer uses on a set of pictures: codes that occur, and the perplexity of their frequencies. */

import { MetricError } from './metric-error.ts';

export interface CodebookUsage {
  codebookSize: number;
  /** Codes that occur at least once. */
  used: number;
  /** used / codebookSize */
  share: number;
  /** exp of the entropy of the frequencies: codebookSize when all are equally frequent. */
  perplexity: number;
}

export class CodebookCounter {
  private readonly counts: Float64Array;
  private total = 0;

  constructor(codebookSize: number) {
    this.counts = new Float64Array(codebookSize);
  }

  add(tokens: Iterable<number>): void {
    for (const token of tokens) {
      if (!(token >= 0 && token < this.counts.length && Number.isInteger(token))) {
        throw new MetricError(
          'METRIC_SHAPE',
          `Expected tokens below ${this.counts.length}, got ${token}: they belong to another codebook.`,
        );
      }
      this.counts[token]! += 1;
      this.total += 1;
    }
  }

  result(): CodebookUsage {
    if (this.total === 0) throw new MetricError('METRIC_TOO_FEW', 'Codebook usage needs at least one token.');
    const present = this.counts.filter((count) => count > 0);
    const entropy = present.reduce((sum, count) => sum - (count / this.total) * Math.log(count / this.total), 0);
    const { length } = this.counts;
    return {
      codebookSize: length,
      used: present.length,
      share: present.length / length,
      perplexity: Math.exp(entropy),
    };
  }
}
