/**
 * The pictures that one image is cut into before it is tokenized or trained on (reference: LlamaGen's extraction and
 * VQ training, npp-llamagen §2.2–2.3; ADM's crop, center-crop.ts). Offsets and rounding are the originals'.
 */
import { applySteps, centerCrop, cut, roundHalfToEven, shrinkSteps } from './center-crop.ts';
import { DataError } from './data-error.ts';
import type { RgbImage } from './image.ts';

/** The picture seen in a mirror: columns reversed. */
export function mirror(image: RgbImage): RgbImage {
  const { width, height } = image;
  const data = new Uint8Array(image.data.length);
  for (let y = 0; y < height; y++) {
    let to = y * width * 3;
    for (let from = ((y + 1) * width - 1) * 3; to < (y + 1) * width * 3; from -= 3) {
      data[to++] = image.data[from]!;
      data[to++] = image.data[from + 1]!;
      data[to++] = image.data[from + 2]!;
    }
  }
  return { width, height, data };
}

/** Side of the square that ten pictures of `size` are cut from: int(size · range), as Python truncates. */
export function tenCropSide(size: number, cropRange: number): number {
  const side = Math.trunc(size * cropRange);
  if (!(side >= size)) {
    throw new DataError('RESIZE_BAD_SIZE', `Expected a crop range of at least 1, got ${cropRange} (of ${size} px).`);
  }
  return side;
}

/** Where the five crops lie, as [x, y]: top left, top right, bottom left, bottom right, centre. */
export function fiveCropOffsets(side: number, size: number): [x: number, y: number][] {
  const far = side - size;
  const middle = roundHalfToEven(far / 2);
  return [
    [0, 0],
    [far, 0],
    [0, far],
    [far, far],
    [middle, middle],
  ];
}

/** Ten pictures of `size` × `size`: the four corners and the centre of the centre crop, then of its mirror image. */
export function tenCrop(image: RgbImage, size: number, cropRange: number): RgbImage[] {
  const side = tenCropSide(size, cropRange);
  const whole = centerCrop(image, side);
  const offsets = fiveCropOffsets(side, size);
  return [whole, mirror(whole)].flatMap((picture) => offsets.map(([x, y]) => cut(picture, x, y, size, size)));
}

export interface RandomCropOptions {
  /** Shares of the short side that a crop keeps at least and at most. */
  minFraction?: number;
  maxFraction?: number;
}

/**
 * A random square of an image for training. `draw(low, high)` gives whole numbers in [low, high); it is asked for the
 * short side after resizing, then for the crop's y, then for its x.
 */
export function randomCrop(
  image: RgbImage,
  size: number,
  draw: (low: number, high: number) => number,
  { minFraction = 0.8, maxFraction = 1 }: RandomCropOptions = {},
): RgbImage {
  const shortSide = draw(Math.ceil(size / maxFraction), Math.ceil(size / minFraction) + 1);
  const small = applySteps(image, shrinkSteps(image.width, image.height, shortSide));
  const y = draw(0, small.height - size + 1);
  const x = draw(0, small.width - size + 1);
  return cut(small, x, y, size, size);
}
