/**
 * The crop of ADM (guided-diffusion), on which the reference systems tokenize and evaluate: halve with BOX while the
 * short side is at least twice the wanted size, then BICUBIC so that it fits, then cut the middle out.
 *
 * Equal to the original bit for bit: sides are rounded half to even (Python's `round`), offsets are `(length - size) // 2`.
 */
import { DataError } from './data-error.ts';
import type { RgbImage } from './image.ts';
import { resizeImage } from './resize.ts';

/** The middle `size` × `size` pixels of the image, resized so that its short side is `size`. */
export function centerCrop(image: RgbImage, size: number): RgbImage {
  if (!Number.isInteger(size) || size < 1) {
    throw new DataError('RESIZE_BAD_SIZE', `Expected a crop size of at least 1 whole pixel, got ${size}.`);
  }
  let small = image;
  while (Math.min(small.width, small.height) >= 2 * size) {
    small = resizeImage(small, Math.floor(small.width / 2), Math.floor(small.height / 2), 'box');
  }
  const scale = size / Math.min(small.width, small.height);
  small = resizeImage(small, roundHalfToEven(small.width * scale), roundHalfToEven(small.height * scale), 'bicubic');
  return cut(small, Math.floor((small.width - size) / 2), Math.floor((small.height - size) / 2), size);
}

/** Python's `round`: ties go to the even neighbour. */
export function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

function cut(image: RgbImage, left: number, top: number, size: number): RgbImage {
  const data = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(from, from + size * 3), y * size * 3);
  }
  return { width: size, height: size, data };
}
