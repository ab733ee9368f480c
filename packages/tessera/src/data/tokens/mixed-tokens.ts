/**
 * Several sources of tokens as one, in one of three ways:
 *
 *   paired        the same images in each, as the two ten-crop extractions of NPP: a visit draws which source it reads,
 *                 with the given weights (0.5 each there), and an epoch sees each image once
 *   one by one    other images, no weights: an epoch sees every image of every source once
 *   weighted      other images, weights: of every w₁ + w₂ + … visits, w₁ are of the first source, w₂ of the second …, in
 *                 an order drawn anew each time; each source has epochs of its own and sees each image once in
 *                 them (at an epoch's edge the order of a block may put a few of the next before the last of this)
 *
 * All of it is a function of (seed, place) and the draws of a visit: nothing is counted, so a run resumes anywhere.
 */
import { type Draws, epochOrder } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import { DataError } from '../data-error.ts';
import { gather, type StoredTokens, type TokenRows } from './token-rows.ts';

export interface MixOptions {
  /** One a source, any scale; see above for what they mean and for what happens without. */
  weights?: readonly number[] | undefined;
}

/** Images whose labels are compared before sources count as paired. */
const PROBES = 64;
/** Weights such as 0.3 are made whole in steps of a thousandth. */
const FINEST = 1000;

export class MixedTokens implements TokenRows {
  readonly kind: 'paired' | 'one-by-one' | 'weighted';
  readonly sources: readonly StoredTokens[];
  readonly numRows: number;
  readonly seqLen: number;
  readonly codebookSize: number;
  readonly classes: readonly string[];
  readonly itemAt?: (seed: number, place: number) => number;
  /** Of each source, whole. */
  private readonly weights: readonly number[];
  /** First sample of each source, unless they are paired. */
  private readonly starts: readonly number[];

  constructor(sources: readonly StoredTokens[], options: MixOptions = {}) {
    checkAlike(sources);
    const [first] = sources;
    this.sources = sources;
    this.seqLen = first!.seqLen;
    this.codebookSize = first!.codebookSize;
    this.classes = first!.classes;
    this.weights = wholeWeights(options.weights ?? sources.map(() => 1), sources.length);
    this.kind = arePaired(sources) ? 'paired' : options.weights === undefined ? 'one-by-one' : 'weighted';
    const counts = sources.map(({ numRows }) => numRows);
    this.numRows = this.kind === 'paired' ? counts[0]! : counts.reduce((sum, count) => sum + count, 0);
    this.starts = counts.map((_, i) => counts.slice(0, i).reduce((sum, count) => sum + count, 0));
    if (this.kind === 'weighted') this.itemAt = (seed, place) => this.weightedItem(seed, place);
  }

  /** Pixels of a picture's side, where all sources say the same. */
  get imageSize(): number | undefined {
    const [size, ...others] = this.sources.map(({ imageSize }) => imageSize);
    return others.every((other) => other === size) ? size : undefined;
  }

  get identity(): unknown {
    return { mix: this.kind, weights: this.weights, sources: this.sources.map(({ identity }) => identity) };
  }

  rows(indices: readonly number[], draws: Draws | undefined): { tokens: Tensor; labels: Tensor } {
    return gather(this.seqLen, indices, (index, into, at) => {
      const [source, image] = this.kind === 'paired' ? [this.drawSource(draws), index] : this.locate(index);
      return this.sources[source]!.visit(image, draws, into, at);
    });
  }

  /** Reads and checks everything of every source. Yields the images done. */
  *verify(): Generator<number> {
    let before = 0;
    for (const source of this.sources) {
      for (const done of source.verify()) yield before + done;
      before += source.numRows;
    }
  }

  dispose(): void {
    for (const source of this.sources) source.dispose();
  }

  private drawSource(draws: Draws | undefined): number {
    if (draws === undefined) return 0;
    return this.atWeight(draws.integer(this.totalWeight));
  }

  private get totalWeight(): number {
    return this.weights.reduce((sum, weight) => sum + weight, 0);
  }

  /** The source whose stretch of the weights laid end to end holds `point`. */
  private atWeight(point: number): number {
    let rest = point;
    return this.weights.findIndex((weight) => {
      rest -= weight;
      return rest < 0;
    });
  }

  private locate(index: number): [source: number, image: number] {
    const source = this.starts.findLastIndex((start) => start <= index);
    return [source, index - this.starts[source]!];
  }

  /** Places go by blocks of as many as the weights sum to; a block's order is drawn, its shares are exact. */
  private weightedItem(seed: number, place: number): number {
    const total = this.totalWeight;
    const block = Math.floor(place / total);
    const point = epochOrder(seed, block % 2 ** 32, place % total, total);
    const source = this.atWeight(point);
    const before = this.weights.slice(0, source).reduce((sum, weight) => sum + weight, 0);
    const visit = block * this.weights[source]! + (point - before);
    const { numRows } = this.sources[source]!;
    const own = (seed + source) % Number.MAX_SAFE_INTEGER;
    return this.starts[source]! + epochOrder(own, Math.floor(visit / numRows), visit % numRows, numRows);
  }
}

function checkAlike(sources: readonly StoredTokens[]): void {
  const [first, ...others] = sources;
  if (first === undefined) throw new DataError('TOKENS_MISSING', 'Expected at least one source of tokens, got none.');
  for (const other of others) {
    for (const [what, one, two] of [
      ['tokens an image', first.seqLen, other.seqLen],
      ['codes', first.codebookSize, other.codebookSize],
      ['classes', first.classes.length, other.classes.length],
    ] as const) {
      if (one === two) continue;
      throw new DataError(
        'TOKENS_UNLIKE',
        `${first.path} has ${one} ${what}, ${other.path} ${two}: they cannot be mixed.`,
      );
    }
    const label = first.classes.findIndex((name, i) => name !== other.classes[i]);
    if (label >= 0) {
      throw new DataError(
        'TOKENS_UNLIKE',
        `Class ${label} is ${first.classes[label]} in ${first.path} and ${other.classes[label]} in ${other.path}.`,
      );
    }
  }
}

/** The same number of images with the same labels, as far as a look at some of them tells. */
function arePaired(sources: readonly StoredTokens[]): boolean {
  const [first, ...others] = sources;
  if (others.length === 0 || others.some(({ numRows }) => numRows !== first!.numRows)) return false;
  const into = new Int32Array(first!.seqLen);
  for (let i = 0; i < PROBES; i++) {
    const image = Math.floor((i * (first!.numRows - 1)) / (PROBES - 1));
    const [label, ...rest] = sources.map((source) => source.picture(image, 0, into, 0));
    if (rest.some((other) => other !== label)) return false;
  }
  return true;
}

function wholeWeights(weights: readonly number[], count: number): number[] {
  const fail = (): never => {
    throw new DataError(
      'TOKENS_WEIGHTS',
      `Expected ${count} weights, one a source, above 0 and in steps of 1/${FINEST}, got ${weights.join(', ')}.`,
    );
  };
  if (weights.length !== count) return fail();
  for (let scale = 1; scale <= FINEST; scale++) {
    const scaled = weights.map((weight) => weight * scale);
    const whole = scaled.map(Math.round);
    if (scaled.every((weight, i) => whole[i]! >= 1 && Math.abs(weight - whole[i]!) < 1e-9 * scale)) {
      return whole.reduce((sum, weight) => sum + weight, 0) <= 2 ** 20 ? whole : fail();
    }
  }
  return fail();
}
