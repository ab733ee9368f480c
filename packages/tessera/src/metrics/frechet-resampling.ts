/**
 * Fréchet distances of resampled images to one reference, for bootstrap intervals. What belongs to the reference, its factor
 * S₂ = LLᵀ, is made once. With fewer images than features the eigenvalues come from the images' own products, XL(XL)ᵀ,
 * which has the same ones but for zeros. With more, covariances are made of weights instead of copied rows, in float32
 * about the mean of all images: an interval needs two digits.
 *
 * The cost is bounded by `resamplesWithin`: as many resamples as fit into a fixed number of multiplications, at least 10.
 */

import { fromTypedArray, linalgEigvalsh, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import type { FeatureStatistics } from './feature-statistics.ts';
import { covarianceFactor } from './frechet.ts';

/** Rows at a time: 1024 × 2048 in float32 is 8 MB. */
const BLOCK = 1024;
const MOST_RESAMPLES = 50;
const FEWEST_RESAMPLES = 10;
/** About two minutes of two cores. */
const MULTIPLICATIONS = 3e12;

/** How many resamples of N images with D features are taken. */
export function resamplesWithin(count: number, dim: number): number {
  const [small, large] = [Math.min(count, dim), Math.max(count, dim)];
  const each = large * small ** 2 + 10 * small ** 3;
  return Math.max(FEWEST_RESAMPLES, Math.min(MOST_RESAMPLES, Math.floor(MULTIPLICATIONS / each)));
}

/**
 * The distance of rows of samples — [N, D] float32, given by index with repetitions. The caller's scope owns what the
 * function keeps.
 */
export function frechetDistanceOfRows(
  samples: Tensor,
  reference: Pick<FeatureStatistics, 'mean' | 'covariance'>,
): (rows: Int32Array) => number {
  return noGrad(() => {
    const [count, dim] = samples.shape as [number, number];
    const factor = covarianceFactor(reference.covariance.to('float64'));
    const mean = reference.mean.to('float64');
    const trace = reference.covariance.trace().item();
    const finish = (shift: number, variance: number, products: Tensor): number =>
      shift + variance + trace - 2 * linalgEigvalsh(products).clamp(0).sqrt().sum().item();

    if (count < dim) {
      const x = samples.to('float64');
      const projected = x.mm(factor);
      return (rows) =>
        noGrad(() =>
          scope(() => {
            const index = fromTypedArray(rows).to('int64');
            const [some, theirs] = [x.indexSelect(0, index), projected.indexSelect(0, index)];
            const own = some.mean([0]);
            const variance = some.sub(own).square().sum().item() / (rows.length - 1);
            const centred = theirs.sub(theirs.mean([0]));
            return finish(own.sub(mean).square().sum().item(), variance, centred.mm(centred.t()).div(rows.length - 1));
          }),
        );
    }
    const centre = samples.mean([0]); // [D] float32
    return (rows) =>
      noGrad(() =>
        scope(() => {
          const weights = new Float32Array(count);
          for (const row of rows) weights[row]! += 1;
          const sum = zeros([dim], { dtype: 'float64' });
          const scatter = zeros([dim, dim], { dtype: 'float64' });
          for (let start = 0; start < count; start += BLOCK) {
            scope(() => {
              const length = Math.min(BLOCK, count - start);
              const x = samples.narrow(0, start, length).sub(centre);
              const weighted = x.mul(fromTypedArray(weights.subarray(start, start + length), [length, 1]));
              sum.add_(weighted.sum([0]).to('float64'));
              scatter.add_(x.t().mm(weighted).to('float64'));
            });
          }
          const step = sum.div_(rows.length); // mean of the draw about the centre
          // In place, as matrices of 2048 features are 33 MB each.
          const covariance = scatter.sub_(step.outer(step).mul_(rows.length)).div_(rows.length - 1);
          const shift = step.add(centre.to('float64')).sub(mean).square().sum().item();
          const variance = covariance.trace().item();
          const half = scope(() => factor.t().mm(covariance));
          return finish(shift, variance, scatter.copy_(half.mm(factor)));
        }),
      );
  });
}
