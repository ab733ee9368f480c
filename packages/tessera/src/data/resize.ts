/**
 * Separable resampling of 8-bit images, equal bit for bit to Pillow's `Image.resize` (BOX and BICUBIC).
 *
 * Each axis is one pass: an output pixel is a weighted sum of the inputs under a filter that is stretched by the scale
 * when shrinking. What makes the bits equal is the arithmetic: weights are normalised in float64 and rounded to 22
 * fractional bits, sums are exact integers plus one half, and the horizontal pass is rounded and clipped to 8 bits
 * before the vertical one reads it. An axis whose length stays is not touched.
 *
 * Checked against Pillow's results (`center-crop` golden cases, see center-crop.test.ts).
 */
import { DataError } from './data-error.ts';
import type { RgbImage } from './image.ts';

export type ResizeFilter = 'box' | 'bicubic';

/** Resamples to `width` × `height` pixels (positive integers). image — [Y, X, 3] uint8. */
export function resizeImage(image: RgbImage, width: number, height: number, filter: ResizeFilter): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new DataError('RESIZE_BAD_SIZE', `Expected a size of at least 1×1 whole pixels, got ${width}×${height}.`);
  }
  if (image.data.length !== image.width * image.height * 3 || image.data.length === 0) {
    throw new DataError(
      'IMAGE_BAD_PIXELS',
      `Expected 3 bytes a pixel, at least one pixel, got ${image.data.length} bytes for ${image.width}×${image.height}.`,
    );
  }
  if (filter === 'box' && width * 2 === image.width && height * 2 === image.height) return halve(image);
  const wide = width === image.width ? image : resampleRows(image, width, filter);
  return height === wide.height ? copyOf(wide) : resampleColumns(wide, height, filter);
}

/** Bits after the point of a weight: 8 bits of pixel and 2 of head room are left of a 32-bit sum. */
const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

interface Kernel {
  support: number;
  weight(x: number): number;
}

const kernels: Record<ResizeFilter, Kernel> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  // Keys' cubic with a = -0.5 (OpenCV and torch use -0.75).
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const t = Math.abs(x);
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
      if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
      return 0;
    },
  },
};

/** For each output position: first input position, number of weights, fixed-point weights at `i * stride`. */
interface AxisWeights {
  first: Int32Array;
  count: Int32Array;
  weights: Int32Array;
  stride: number;
}

function axisWeights(inSize: number, outSize: number, kernel: Kernel): AxisWeights {
  const scale = inSize / outSize;
  const stretch = Math.max(scale, 1);
  const support = kernel.support * stretch;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(outSize);
  const count = new Int32Array(outSize);
  const weights = new Int32Array(outSize * stride);
  const exact = new Float64Array(stride);
  const inverse = 1 / stretch;
  for (let i = 0; i < outSize; i++) {
    const center = (i + 0.5) * scale;
    const from = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), inSize) - from;
    let sum = 0;
    for (let j = 0; j < n; j++) {
      exact[j] = kernel.weight((j + from - center + 0.5) * inverse);
      sum += exact[j]!;
    }
    for (let j = 0; j < n; j++) {
      const w = (sum === 0 ? exact[j]! : exact[j]! / sum) * (1 << PRECISION_BITS);
      weights[i * stride + j] = Math.trunc(w < 0 ? w - 0.5 : w + 0.5);
    }
    first[i] = from;
    count[i] = n;
  }
  return { first, count, weights, stride };
}

function resampleRows(image: RgbImage, width: number, filter: ResizeFilter): RgbImage {
  const { first, count, weights, stride } = axisWeights(image.width, width, kernels[filter]);
  const source = image.data;
  const data = new Uint8Array(width * image.height * 3);
  let at = 0;
  for (let y = 0; y < image.height; y++) {
    const row = y * image.width * 3;
    for (let x = 0; x < width; x++) {
      let r = HALF;
      let g = HALF;
      let b = HALF;
      let from = row + first[x]! * 3;
      const end = x * stride + count[x]!;
      for (let k = x * stride; k < end; k++) {
        const w = weights[k]!;
        r += source[from]! * w;
        g += source[from + 1]! * w;
        b += source[from + 2]! * w;
        from += 3;
      }
      data[at] = clip8(r);
      data[at + 1] = clip8(g);
      data[at + 2] = clip8(b);
      at += 3;
    }
  }
  return { width, height: image.height, data };
}

function resampleColumns(image: RgbImage, height: number, filter: ResizeFilter): RgbImage {
  const { first, count, weights, stride } = axisWeights(image.height, height, kernels[filter]);
  const rowBytes = image.width * 3;
  const source = image.data;
  const data = new Uint8Array(rowBytes * height);
  const sums = new Int32Array(rowBytes);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    let from = first[y]! * rowBytes;
    const end = y * stride + count[y]!;
    for (let k = y * stride; k < end; k++) {
      const w = weights[k]!;
      for (let i = 0; i < rowBytes; i++) sums[i]! += source[from + i]! * w;
      from += rowBytes;
    }
    for (let i = 0; i < rowBytes; i++) data[y * rowBytes + i] = clip8(sums[i]!);
  }
  return { width: image.width, height, data };
}

/** BOX at exactly one half, where all weights are 1/2: the same rounding without the multiplications. */
function halve(image: RgbImage): RgbImage {
  const width = image.width / 2;
  const height = image.height / 2;
  const rowBytes = image.width * 3;
  const source = image.data;
  const data = new Uint8Array(width * height * 3);
  let at = 0;
  for (let y = 0; y < height; y++) {
    let from = 2 * y * rowBytes;
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const upper = (source[from]! + source[from + 3]! + 1) >> 1;
        const lower = (source[from + rowBytes]! + source[from + rowBytes + 3]! + 1) >> 1;
        data[at++] = (upper + lower + 1) >> 1;
        from++;
      }
      from += 3;
    }
  }
  return { width, height, data };
}

function clip8(sum: number): number {
  const value = sum >> PRECISION_BITS;
  return Math.max(0, Math.min(value, 255));
}

function copyOf(image: RgbImage): RgbImage {
  return { ...image, data: image.data.slice() };
}
