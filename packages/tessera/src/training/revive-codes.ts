/**
 * Revival of dead codes, a function of (step, weights) alone, so a resumed run needs no usage counts: some training images,
 * drawn for the step, are encoded; codes that they hardly use are moved onto latents of theirs, drawn with a probability
 * in proportion to the squared distance to the nearest code (as k-means++ seeds its centres, Arthur and Vassilvitskii 2007;
 * a uniform draw would pick flat background most times). The first rank does it for all: on another machine the last bits
 * of a latent may be others, and codebooks would part.
 */

import type { Draws } from '@tessera/schedule';
import { fromTypedArray, scope, type Tensor, zeros } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import type { Ranks } from './ranks.ts';

/** The table of codes among a tokenizer's tensors. */
const CODEBOOK = 'quantize.embedding.weight';
/** Images a forward pass. */
const BATCH = 128;

export interface RevivalOptions {
  tokenizer: Tokenizer;
  /** The tensors of its moving averages: their codes move too. */
  averages: readonly ReadonlyMap<string, Tensor>[];
  numImages: number;
  /** [n, 3, Y, X] float32 in [0, 1] of these indices. */
  pick(indices: readonly number[]): Tensor;
  /** Images to encode. */
  count: number;
  /** A code is dead when its share of tokens is below this fraction of an even share. */
  deadBelow: number;
  draws: Draws;
  /** All of them call it. */
  ranks: Ranks;
}

/** The images that a revival encodes: the first draws of its stream. */
export function revivalImages(draws: Draws, numImages: number, count: number): number[] {
  // With replacement where there are many images: a repetition is rare then, and a permutation of all would be slow.
  return Array.from({ length: Math.min(count, numImages) }, (_, i) =>
    count >= numImages ? i : draws.integer(numImages),
  );
}

/** Call it under noGrad, in a scope. */
export function reviveDeadCodes(options: RevivalOptions): void {
  const { tokenizer, averages, ranks } = options;
  const table = tokenizer.state.get(CODEBOOK)!; // [V, d]
  const codes = table.detach().clone();
  const moved = zeros([tokenizer.codebookSize], { dtype: 'int64', device: table.device as 'cpu' }); // 1 for a revived code
  if (ranks.isFirst) moveDeadCodes(codes, moved, options);
  ranks.copyFromFirst([codes, moved]);
  const places = moved.nonzero().flatten(); // [dead]
  const values = codes.indexSelect(0, places); // [dead, d]
  for (const state of [tokenizer.state, ...averages]) {
    // Of some averages a rank may have a share alone.
    state.get(CODEBOOK)?.indexCopy_(0, places, values);
  }
}

/** codes — [V, d] float32, of which dead ones are moved; moved — [V] int64, set to 1 for them. */
function moveDeadCodes(codes: Tensor, moved: Tensor, options: RevivalOptions): void {
  const { tokenizer, numImages, pick, deadBelow, draws } = options;
  const { codebookSize } = tokenizer;
  const order = revivalImages(draws, numImages, options.count);
  const latents: Tensor[] = [];
  for (let i = 0; i < order.length; i += BATCH) {
    latents.push(scope(() => tokenizer.encodeToLatent(tokenizer.toNetwork(pick(order.slice(i, i + BATCH))))));
  }
  const { rows, tokens, squaredDistances } = tokenizer.quantizer.assign(latents);
  const used = tokens.bincount(undefined, codebookSize).toNumbers();
  const threshold = (deadBelow * tokens.numel) / codebookSize;
  const dead = used.flatMap((n, code) => (n <= threshold ? [code] : []));
  const chosen = drawInProportion(squaredDistances.toNumbers(), dead.length, draws);
  if (chosen.length === 0) return;
  const places = beside(int64(dead), rows);
  codes.indexCopy_(0, places, rows.indexSelect(0, beside(int64(chosen), rows)));
  moved.indexFill_(0, places, 1);
}

/** `count` indices drawn with replacement, index i with probability weights[i] / sum; none if all weights are 0. */
function drawInProportion(weights: readonly number[], count: number, draws: Draws): number[] {
  const sums = new Float64Array(weights.length);
  let total = 0;
  for (const [i, weight] of weights.entries()) {
    total += Math.max(0, weight);
    sums[i] = total;
  }
  if (!(total > 0)) return [];
  return Array.from({ length: count }, () => {
    const target = draws.uniform() * total;
    let low = 0;
    let high = weights.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! > target) high = middle;
      else low = middle + 1;
    }
    return low;
  });
}

function int64(values: readonly number[]): Tensor {
  return fromTypedArray(BigInt64Array.from(values, BigInt));
}
