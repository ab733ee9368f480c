/** Which part of a picture an edit makes anew: as pixels, then as tokens. Plain arrays, no tensors. */

import { centerCrop } from '../../data/center-crop.ts';
import type { RgbImage } from '../../data/image.ts';
import { resizeImage } from '../../data/resize.ts';
import { PipelineError } from '../events.ts';

/** 1 where a pixel is made anew: [size · size], row by row. */
export type PixelMask = Uint8Array;

/** Pixels of the model's picture, the origin at the top left. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** New pixels at each side of the picture that is there, in pixels of the model's picture. */
export interface Margins {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export function boxMask(box: Box, size: number): PixelMask {
  const { x, y, width, height } = box;
  if (x < 0 || y < 0 || width < 1 || height < 1 || x + width > size || y + height > size) {
    throw new PipelineError(
      'MASK_SIZE',
      `Expected a box inside the ${size}×${size} pixels of the model, got ${width}×${height} at ${x}, ${y}.`,
    );
  }
  const mask = new Uint8Array(size * size);
  for (let row = y; row < y + height; row++) mask.fill(1, row * size + x, row * size + x + width);
  return mask;
}

/** Light pixels of a mask image are made anew; it is as large as the picture it belongs to, or as the model's. */
export function imageMask(image: RgbImage, picture: RgbImage, size: number): PixelMask {
  const fits = [picture, { width: size, height: size }].some(
    ({ width, height }) => width === image.width && height === image.height,
  );
  if (!fits) {
    throw new PipelineError(
      'MASK_SIZE',
      `Expected a mask of ${picture.width}×${picture.height} pixels like the picture, or ${size}×${size} like the model, ` +
        `got ${image.width}×${image.height}.`,
    );
  }
  const small = image.width === size && image.height === size ? image : centerCrop(image, size);
  return Uint8Array.from({ length: size * size }, (_, i) => (small.data[3 * i]! >= 128 ? 1 : 0));
}

/** The picture inside margins, and the margins as what is to be made. */
export function outpainted(picture: RgbImage, margins: Margins, size: number): { canvas: RgbImage; mask: PixelMask } {
  const { left, top, right, bottom } = margins;
  const [width, height] = [size - left - right, size - top - bottom];
  if (Math.min(left, top, right, bottom) < 0 || width < 1 || height < 1 || left + top + right + bottom === 0) {
    throw new PipelineError(
      'MASK_SIZE',
      `Expected margins that leave a part of ${size}×${size} pixels for the picture, got ${left}, ${top}, ${right}, ${bottom}.`,
    );
  }
  const inner = covering(picture, width, height);
  const canvas: RgbImage = { width: size, height: size, data: new Uint8Array(size * size * 3).fill(128) };
  const mask = new Uint8Array(size * size).fill(1);
  for (let y = 0; y < height; y++) {
    const at = (top + y) * size + left;
    canvas.data.set(inner.data.subarray(y * width * 3, (y + 1) * width * 3), at * 3);
    mask.fill(0, at, at + width);
  }
  return { canvas, mask };
}

/** A token is made anew where any of its pixels is: [gridSize²]. */
export function tokenMask(pixels: PixelMask, size: number, factor: number): boolean[] {
  const grid = size / factor;
  const mask = new Array<boolean>(grid * grid).fill(false);
  for (const [i, marked] of pixels.entries()) {
    if (marked === 1) mask[Math.floor(i / size / factor) * grid + Math.floor((i % size) / factor)] = true;
  }
  return mask;
}

/** The original's pixels wherever the mask leaves them. */
export function blended(made: RgbImage, original: RgbImage, mask: PixelMask): RgbImage {
  const data = made.data.slice();
  for (const [i, marked] of mask.entries()) {
    if (marked === 0) data.set(original.data.subarray(3 * i, 3 * i + 3), 3 * i);
  }
  return { ...made, data };
}

/** Resized so that it covers width × height, the middle cut out. */
function covering(image: RgbImage, width: number, height: number): RgbImage {
  const scale = Math.max(width / image.width, height / image.height);
  const [wide, high] = [
    Math.max(width, Math.round(image.width * scale)),
    Math.max(height, Math.round(image.height * scale)),
  ];
  const large = resizeImage(image, wide, high, 'bicubic');
  const [x0, y0] = [Math.floor((wide - width) / 2), Math.floor((high - height) / 2)];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((y0 + y) * wide + x0) * 3;
    data.set(large.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, data };
}
