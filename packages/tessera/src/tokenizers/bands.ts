/**
 * The layers of a decoder over bands of rows, for pictures whose maps in full would not fit the memory. The result is the
 * whole decode's but for rounding: a group norm first reads the map band by band for the statistics of all of it
 * (parallel variance; Chan, Golub and LeVeque 1979), summed in float64; then each band is normalised, activated and
 * convolved with one row of its neighbours on either side. Call all of this under noGrad.
 *
 * Shapes: x — [1, C, Y, X] float32, channels last so that a band is one piece of memory.
 */

import { constantPadNd, conv2d, empty, fromTypedArray, scope, silu_, type Tensor } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import type { Conv2d, GroupNorm } from '../nn/layers.ts';
import { subPixelConvolution, subPixelKernels } from './upsample.ts';

/** What a layer does with the rows that it is given. */
type OnBand = (band: Tensor, top: number) => void;

/** conv(swish(norm(x))), 3×3, told band by band. */
export function convolveNormed(x: Tensor, norm: GroupNorm, conv: Conv2d, rows: number, onBand: OnBand): void {
  const { scale, shift } = statistics(x, norm, rows);
  eachBand(x, rows, (band, top, above, below) => {
    const h = silu_(band.mul(scale).add_(shift));
    // Zeros stand above and below the picture only: inside it the neighbours' rows do.
    const padded = above && below ? h : constantPadNd(h, [0, 0, above ? 0 : 1, below ? 0 : 1]);
    onBand(conv2d(padded, conv.weight, conv.bias, [1, 1], [0, 1]), top);
  });
  scale.dispose();
  shift.dispose();
}

/** The same in one map. */
export function convolvedNormed(x: Tensor, norm: GroupNorm, conv: Conv2d, rows: number): Tensor {
  const out = emptyMap(conv.weight.size(0), x.size(2), x.size(3), x);
  convolveNormed(x, norm, conv, rows, (band, top) => place(out, top, band).copy_(band));
  return out;
}

/** Doubling and a 3×3 convolution, as upsample.ts does it. */
export function upsampledInBands(x: Tensor, conv: Conv2d, rows: number): Tensor {
  const out = emptyMap(conv.weight.size(0), 2 * x.size(2), 2 * x.size(3), x);
  const kernels = subPixelKernels(conv);
  // Of the smaller map half the rows, so that a band is no larger after it.
  eachBand(x, Math.max(1, Math.floor(rows / 2)), (band, top, above, below) => {
    const doubled = subPixelConvolution(band, kernels, conv.bias);
    const [from, left] = [above ? 2 : 0, below ? 2 : 0];
    const inside = doubled.narrow(2, from, doubled.size(2) - from - left);
    place(out, 2 * top, inside).copy_(inside);
  });
  return out;
}

/** The rows of `whole` that `band` stands for. */
export function place(whole: Tensor, top: number, band: Tensor): Tensor {
  return whole.narrow(2, top, band.size(2));
}

/** [1, C, Y, X], channels last. */
export function emptyMap(channels: number, height: number, width: number, { device }: Pick<Tensor, 'device'>): Tensor {
  return empty([1, height, width, channels], { device }).permute([0, 3, 1, 2]);
}

/** Bands with a row of each neighbour; `above` and `below` say which are there. */
function eachBand(
  x: Tensor,
  rows: number,
  run: (band: Tensor, top: number, above: boolean, below: boolean) => void,
): void {
  const height = x.size(2);
  for (let top = 0; top < height; top += rows) {
    const end = Math.min(height, top + rows);
    const [above, below] = [top > 0, end < height];
    const from = above ? top - 1 : top;
    scope(() => run(x.narrow(2, from, (below ? end + 1 : end) - from), top, above, below));
  }
}

/** A group norm as one factor and one summand a channel: [1, C, 1, 1] each, owned by the caller's scope. */
function statistics(x: Tensor, norm: GroupNorm, rows: number): { scale: Tensor; shift: Tensor } {
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const mean = new Float64Array(channels);
  const squares = new Float64Array(channels); // sums of squared distances from the mean
  let count = 0;
  for (let top = 0; top < height; top += rows) {
    const length = Math.min(rows, height - top);
    const added = length * width;
    const [means, sums] = scope(() => {
      const band = x.narrow(2, top, length);
      const middle = band.mean([0, 2, 3], true);
      return [middle.flatten().toNumbers(), band.sub(middle).square_().sum([0, 2, 3]).toNumbers()] as const;
    });
    const total = count + added;
    for (let c = 0; c < channels; c++) {
      const distance = means[c]! - mean[c]!;
      mean[c]! += (distance * added) / total;
      squares[c]! += sums[c]! + (distance * distance * count * added) / total;
    }
    count = total;
  }
  const size = channels / norm.numGroups;
  const scale = new Float32Array(channels);
  const centre = new Float32Array(channels);
  for (let first = 0; first < channels; first += size) {
    const members = Array.from({ length: size }, (_, i) => first + i);
    const middle = members.reduce((sum, c) => sum + mean[c]!, 0) / size;
    const spread = members.reduce((sum, c) => sum + squares[c]! + count * (mean[c]! - middle) ** 2, 0) / (count * size);
    scale.fill(1 / Math.sqrt(spread + norm.eps), first, first + size);
    centre.fill(middle, first, first + size);
  }
  return scope(() => {
    const factor = norm.weight.mul(beside(fromTypedArray(scale), norm.weight));
    const summand = norm.bias.sub(factor.mul(beside(fromTypedArray(centre), factor)));
    return { scale: factor.view([1, channels, 1, 1]), shift: summand.view([1, channels, 1, 1]) };
  });
}
