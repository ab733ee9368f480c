/**
 * The crop of ADM (guided-diffusion), on which the reference systems tokenize and evaluate: halve with BOX while the
 * short side is at least twice the wanted size, then BICUBIC so that it fits, then cut the middle out.
 *
 * Equal to the original bit for bit: sides are rounded half to even (Python's `round`), offsets are `(length - size) // 2`.
 */
import { DataError } from './data-error.ts';
import type { RgbImage } from './image.ts';
import { resizeImage } from './resize.ts';

/** A resize to width × height, or a cut of width × height pixels at (x, y). */
export type CropStep =
  | readonly [filter: 'box' | 'bicubic', width: number, height: number]
  | readonly [cut: 'crop', x: number, y: number, width: number, height: number];

/** A line of one pixel's height, a few bytes as a file, would become gigabytes. */
const MAX_RESIZED_PIXELS = 2 ** 28;

/** The middle `size` × `size` pixels of the image, resized so that its short side is `size`. */
export function centerCrop(image: RgbImage, size: number): RgbImage {
  return applySteps(image, centerCropSteps(image.width, image.height, size));
}

/** What `centerCrop` does with a picture of these sides. */
export function centerCropSteps(width: number, height: number, size: number): CropStep[] {
  const steps = shrinkSteps(width, height, size);
  const [, w, h] = steps.at(-1)!;
  return [...steps, ['crop', Math.floor((w - size) / 2), Math.floor((h - size) / 2), size, size]];
}

/** The resizes that make the short side of a picture `size` pixels long; the last is always BICUBIC. */
export function shrinkSteps(width: number, height: number, size: number): CropStep[] {
  if (!Number.isInteger(size) || size < 1) {
    throw new DataError('RESIZE_BAD_SIZE', `Expected a crop size of at least 1 whole pixel, got ${size}.`);
  }
  const steps: CropStep[] = [];
  let [w, h] = [width, height];
  while (Math.min(w, h) >= 2 * size) {
    [w, h] = [Math.floor(w / 2), Math.floor(h / 2)];
    steps.push(['box', w, h]);
  }
  const scale = size / Math.min(w, h);
  const [wide, high] = [roundHalfToEven(w * scale), roundHalfToEven(h * scale)];
  if (wide * high > MAX_RESIZED_PIXELS) {
    throw new DataError(
      'IMAGE_TOO_LARGE',
      `Expected a picture that is not much longer than wide, got ${width}×${height}: ${wide}×${high} to crop ${size} from.`,
    );
  }
  return [...steps, ['bicubic', wide, high]];
}

export function applySteps(image: RgbImage, steps: readonly CropStep[]): RgbImage {
  let current = image;
  for (const step of steps) {
    if (step[0] === 'crop') {
      const [, x, y, width, height] = step;
      current = cut(current, x, y, width, height);
    } else {
      const [filter, width, height] = step;
      current = resizeImage(current, width, height, filter);
    }
  }
  return current;
}

/** The `width` × `height` pixels at (left, top), which must lie inside the picture. */
export function cut(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) {
    throw new DataError(
      'RESIZE_BAD_SIZE',
      `Expected a cut inside ${image.width}×${image.height} pixels, got ${width}×${height} at (${left}, ${top}).`,
    );
  }
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, data };
}

/** Python's `round`: ties go to the even neighbour. */
export function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
