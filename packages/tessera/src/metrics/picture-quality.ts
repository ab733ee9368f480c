/**
 * How close a reconstruction is to its picture: PSNR and SSIM (Wang et al. 2004), as scikit-image computes them by default
 * (SSIM: windows of 7×7 of equal weight, sample variances, K₁ = 0.01, K₂ = 0.03, borders left out, mean over channels).
 *
 * Pictures are in [0, 1]. LlamaGen's reconstruction script passes a data range of 2 for pictures of range 1, which makes
 * its SSIM larger: `dataRange: 2` gives its numbers.
 */

import { avgPool2d, noGrad, scope, type Tensor } from '@tessera/torch';
import { MetricError } from './metric-error.ts';

const WINDOW = 7;
const K1 = 0.01;
const K2 = 0.03;

/** a, b — [N, 3, Y, X] in [0, 1]; returns decibels for each picture, Infinity for equal ones. */
export function psnr(a: Tensor, b: Tensor, dataRange = 1): number[] {
  checkPair(a, b);
  return noGrad(() =>
    scope(() => {
      const error = a.to('float64').sub(b.to('float64')).square().mean([1, 2, 3]);
      return error.toNumbers().map((value) => 10 * Math.log10(dataRange ** 2 / value));
    }),
  );
}

/** a, b — [N, 3, Y, X] in [0, 1], sides of 7 pixels and more; returns the SSIM of each picture, 1 for equal ones. */
export function ssim(a: Tensor, b: Tensor, dataRange = 1): number[] {
  checkPair(a, b);
  if (a.size(2) < WINDOW || a.size(3) < WINDOW) {
    throw new MetricError('METRIC_SHAPE', `SSIM looks at ${WINDOW}×${WINDOW} pixels; got ${a.size(2)}×${a.size(3)}.`);
  }
  return noGrad(() =>
    scope(() => {
      const [x, y] = [a.to('float64'), b.to('float64')];
      const mean = (z: Tensor): Tensor => avgPool2d(z, [WINDOW, WINDOW], [1, 1]);
      const unbiased = WINDOW ** 2 / (WINDOW ** 2 - 1);
      const [mx, my] = [mean(x), mean(y)];
      const vx = mean(x.square()).sub(mx.square()).mul(unbiased);
      const vy = mean(y.square()).sub(my.square()).mul(unbiased);
      const vxy = mean(x.mul(y)).sub(mx.mul(my)).mul(unbiased);
      const [c1, c2] = [(K1 * dataRange) ** 2, (K2 * dataRange) ** 2];
      const above = mx.mul(my).mul(2).add(c1).mul(vxy.mul(2).add(c2));
      const below = mx.square().add(my.square()).add(c1).mul(vx.add(vy).add(c2));
      return above.div(below).mean([1, 2, 3]).toNumbers();
    }),
  );
}

function checkPair(a: Tensor, b: Tensor): void {
  if (a.shape.length === 4 && a.shape.join() === b.shape.join()) return;
  throw new MetricError(
    'METRIC_SHAPE',
    `Expected two batches of pictures [N, 3, Y, X] of the same sizes, got [${a.shape.join(', ')}] and [${b.shape.join(', ')}].`,
  );
}
