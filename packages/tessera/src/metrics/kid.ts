/**
 * The Kernel Inception Distance (Bińkowski et al. 2018): the squared maximum mean discrepancy under the kernel
 * (x·y / D + 1)³, estimated without bias on random subsets. Unlike a Fréchet distance its expectation does not depend on
 * the number of images, so it serves small sets; it may come out below 0.
 *
 * The interval is that of the mean over subsets; subsets overlap, so with few images it is too narrow.
 */

import { fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import { MetricError } from './metric-error.ts';
import { drawSubset, metricDraws } from './splits.ts';

export interface KidResult {
  mean: number;
  /** Over the subsets. */
  std: number;
  /** Of the mean, at 95 %. */
  low: number;
  high: number;
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
  const half = (1.959964 * std) / Math.sqrt(subsets);
  return { mean, std, low: mean - half, high: mean + half, subsets, subsetSize };
}

/** The unbiased estimate on sets of the same size n: the diagonal of the kernel within a set is left out. */
function discrepancy(a: Tensor, b: Tensor): number {
  const [n, dim] = a.shape as [number, number];
  const kernel = (x: Tensor, y: Tensor): Tensor => x.mm(y.t()).div(dim).add(1).pow(3);
  const within = (x: Tensor): number => {
    const k = kernel(x, x);
    return k.sum().sub(k.trace()).item() / (n * (n - 1));
  };
  return within(a) + within(b) - (2 * kernel(a, b).sum().item()) / (n * n);
}
