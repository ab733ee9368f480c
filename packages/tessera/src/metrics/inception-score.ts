/**
 * The Inception Score (Salimans et al. 2016): exp of the mean Kullback-Leibler divergence of p(class | image) from
 * p(class), taken in splits. Published numbers follow one of two conventions, which differ in order and splits:
 *
 *   adm             logits without bias, splits of 5000 in the order of the file; mean over splits
 *   torch-fidelity  logits without bias, rows in the order of numpy's RandomState(2020), 10 equal splits; mean and
 *                   population deviation over splits
 *
 * Both depend on the order of the images: images sorted by class give splits of few classes and a low score.
 */

import { fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import { MetricError } from './metric-error.ts';
import { numpyPermutation } from './splits.ts';

export type InceptionScoreConvention = 'adm' | 'torch-fidelity';

export interface InceptionScore {
  mean: number;
  /** Population deviation over the splits; 0 for one split. */
  std: number;
  splits: number;
}

const CONVENTIONS = {
  adm: (count: number) => ({ ranges: splitsOfSize(count, 5000), order: undefined }),
  'torch-fidelity': (count: number) => ({ ranges: equalSplits(count, 10), order: numpyPermutation(2020, count) }),
} satisfies Record<InceptionScoreConvention, unknown>;

/** logits — [N, C] any float type, in the order of the images. */
export function inceptionScore(logits: Tensor, convention: InceptionScoreConvention): InceptionScore {
  const { ranges, order } = CONVENTIONS[convention](logits.size(0));
  return scope(() => {
    const rows = order === undefined ? logits : logits.indexSelect(0, fromTypedArray(order).to('int64'));
    return inceptionScoreOfSplits(rows, ranges);
  });
}

/**
 * The score of resampled rows, for intervals: rows drawn with replacement come in random order already, so both
 * conventions cut them as they come. The caller's scope owns what the function keeps: [N, C] float32.
 */
export function inceptionScoreOfRows(
  logits: Tensor,
  convention: InceptionScoreConvention,
): (rows: Int32Array) => number {
  const count = logits.size(0);
  const logP = logits.to('float32').logSoftmax(1);
  const p = logP.exp();
  const negativeEntropies = p.mul(logP).sum([1]).to('float64').toNumbers();
  return (rows) => {
    const { ranges } = CONVENTIONS[convention](rows.length);
    const weights = new Float32Array(ranges.length * count);
    const entropies = ranges.map(([first, end], split) => {
      let sum = 0;
      for (const row of rows.subarray(first, end)) {
        weights[split * count + row]! += 1 / (end - first);
        sum += negativeEntropies[row]!;
      }
      return sum / (end - first);
    });
    return scope(() => {
      const marginals = fromTypedArray(weights, [ranges.length, count]).mm(p).to('float64'); // [splits, C]
      const ofMarginals = marginals.mul(marginals.clamp(Number.MIN_VALUE).log()).sum([1]).toNumbers();
      return entropies.reduce((sum, entropy, i) => sum + Math.exp(entropy - ofMarginals[i]!), 0) / ranges.length;
    });
  };
}

/** Rows [first, end) of a split. */
export type SplitRange = readonly [first: number, end: number];

/** The score of logits — [N, C] in the given splits; computed in float64. */
export function inceptionScoreOfSplits(logits: Tensor, ranges: readonly SplitRange[]): InceptionScore {
  if (logits.size(0) === 0 || ranges.some(([first, end]) => end <= first)) {
    throw new MetricError(
      'METRIC_TOO_FEW',
      `The Inception Score needs an image a split, got ${logits.size(0)} images.`,
    );
  }
  const scores = noGrad(() => ranges.map(([first, end]) => scope(() => scoreOf(logits.narrow(0, first, end - first)))));
  const mean = scores.reduce((sum, x) => sum + x, 0) / scores.length;
  const variance = scores.reduce((sum, x) => sum + (x - mean) ** 2, 0) / scores.length;
  return { mean, std: Math.sqrt(variance), splits: scores.length };
}

/** Splits of `size` rows; the last one may be smaller. */
export function splitsOfSize(count: number, size: number): SplitRange[] {
  const splits = Math.ceil(count / size);
  return Array.from({ length: splits }, (_, i) => [i * size, Math.min(count, (i + 1) * size)] as const);
}

/** `splits` ranges of about the same size. */
export function equalSplits(count: number, splits: number): SplitRange[] {
  return Array.from(
    { length: splits },
    (_, i) => [Math.floor((i * count) / splits), Math.floor(((i + 1) * count) / splits)] as const,
  );
}

/** exp(mean of Σ p log p - Σ m log m) with m the mean of p, which is the mean divergence. */
function scoreOf(logits: Tensor): number {
  const logP = logits.to('float64').logSoftmax(1);
  const p = logP.exp();
  const marginal = p.mean([0]);
  const negativeEntropy = p.mul(logP).sum([1]).mean();
  const ofMarginal = marginal.mul(marginal.clamp(Number.MIN_VALUE).log()).sum();
  return negativeEntropy.sub(ofMarginal).exp().item();
}
