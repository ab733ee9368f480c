/**
 * The Kernel Inception Distance (Bińkowski et al. 2018): the squared maximum mean discrepancy under the kernel
 * (x·y / D + 1)³, estimated without bias on random subsets. Unlike a Fréchet distance its expectation does not depend on
 * the number of images, so it serves small sets; it may come out below 0.
 *
 * The interval is by jackknife over both sets (Efron 1982): the estimate is taken again without each image in turn, which
 * sums of rows of the kernel give at once. The spread over subsets would not do: they overlap, and where a set is no larger
 * than a subset they are all the same. Of more than 2000 images a part is taken and the error scaled by √(part / all).
 */

import { fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import { intervalOf } from './bootstrap.ts';
import { MetricError } from './metric-error.ts';
import { drawSubset, metricDraws } from './splits.ts';

export interface KidResult {
  mean: number;
  /** Over the subsets. */
  std: number;
  /** 95 %, for the draw of both sets; none where one has two images, since a pair says nothing of how others scatter. */
  low?: number;
  high?: number;
  subsets: number;
  subsetSize: number;
}

/** a — [N, D], b — [M, D]; a subset has 1000 images of each unless there are fewer. */
export function kernelDistance(
  a: Tensor,
  b: Tensor,
  options: { subsets?: number; subsetSize?: number; seed?: number } = {},
): KidResult {
  const { subsets = 100, seed = 0 } = options;
  if (a.size(1) !== b.size(1)) {
    throw new MetricError('METRIC_DIMENSION', `Cannot compare ${a.size(1)} features with ${b.size(1)}.`);
  }
  const subsetSize = Math.min(options.subsetSize ?? 1000, a.size(0), b.size(0));
  if (subsetSize < 2 || subsets < 2) {
    throw new MetricError(
      'METRIC_TOO_FEW',
      `KID needs 2 images a subset and 2 subsets, got ${subsetSize}, ${subsets}.`,
    );
  }
  const values = Array.from({ length: subsets }, (_, i) => {
    const draws = metricDraws(seed, i);
    return noGrad(() =>
      scope(() => {
        const some = (x: Tensor): Tensor => {
          const rows = Int32Array.from(drawSubset(draws, subsetSize, x.size(0)));
          return x.indexSelect(0, fromTypedArray(rows).to('int64')).to('float64');
        };
        return discrepancy(some(a), some(b));
      }),
    );
  });
  const mean = values.reduce((sum, x) => sum + x, 0) / subsets;
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (subsets - 1));
  const found = { mean, std, subsets, subsetSize };
  if (Math.min(a.size(0), b.size(0)) < FEWEST_JACKKNIFED) return found;
  const { low, high } = intervalOf(
    mean,
    noGrad(() => scope(() => jackknifeError(a, b))),
  );
  return { ...found, low, high };
}

/** Standard error of the unbiased estimate on sets — [N, D] and [M, D], each varied in turn. */
function jackknifeError(a: Tensor, b: Tensor): number {
  const [x, y] = [part(a), part(b)];
  const across = kernel(x, y);
  const variance = (own: Tensor, crossSums: Tensor, others: number, all: number): number => {
    const n = own.size(0);
    const k = kernel(own, own);
    const rows = k.sum([1]).sub(k.diagonal());
    const within = rows
      .sum()
      .sub(rows.mul(2))
      .div((n - 1) * (n - 2)); // [n], without image i
    const between = crossSums
      .sum()
      .sub(crossSums)
      .div((n - 1) * others);
    const without = within.sub(between.mul(2));
    return ((n - 1) * without.sub(without.mean()).square().mean().item() * n) / all;
  };
  const [n, m] = [x.size(0), y.size(0)];
  return Math.sqrt(variance(x, across.sum([1]), m, a.size(0)) + variance(y, across.sum([0]), n, b.size(0)));
}

/** Without one of two images there is no pair left. */
const FEWEST_JACKKNIFED = 3;
/** Images of the jackknife: a kernel of 2000 × 2000 is 32 MB. */
const MOST_JACKKNIFED = 2000;

/** Evenly chosen, since pictures often come sorted by class. */
function part(x: Tensor): Tensor {
  const count = x.size(0);
  if (count <= MOST_JACKKNIFED) return x.to('float64');
  const rows = Int32Array.from({ length: MOST_JACKKNIFED }, (_, i) => Math.floor((i * count) / MOST_JACKKNIFED));
  return x.indexSelect(0, fromTypedArray(rows).to('int64')).to('float64');
}

/** The unbiased estimate on sets of the same size n: the diagonal of the kernel within a set is left out. */
function discrepancy(a: Tensor, b: Tensor): number {
  const n = a.size(0);
  const within = (x: Tensor): number => {
    const k = kernel(x, x);
    return k.sum().sub(k.trace()).item() / (n * (n - 1));
  };
  return within(a) + within(b) - (2 * kernel(a, b).sum().item()) / (n * n);
}

function kernel(x: Tensor, y: Tensor): Tensor {
  return x.mm(y.t()).div(x.size(1)).add(1).pow(3);
}
