/**
 * Many small pictures in one file: a grid as PNG, and an animation as WebP or GIF.
 *
 * Pixels are enlarged by repeating them (nearest neighbour, whole factors), so what one sees is what was made.
 * The encoders join frames that are equal to the one before and add up their delays.
 */
import sharp from 'sharp';
import { DataError } from './data-error.ts';
import type { RgbImage } from './image.ts';

export interface GridOptions {
  /** Pictures in a row; default: the square root of their number, rounded up. */
  columns?: number;
  /** Each pixel becomes scale × scale pixels. Default 1. */
  scale?: number;
  /** Pixels between pictures and around them, not scaled. Default 2. */
  gap?: number;
  /** Colour of gaps and of empty places: red, green, blue in 0..255. Default white. */
  background?: readonly [number, number, number];
}

/** Lays the pictures out row by row. All must have the same size. */
export function gridImage(images: readonly RgbImage[], options: GridOptions = {}): RgbImage {
  const { width: w, height: h } = sameSize(images);
  const { scale = 1, gap = 2, background = [255, 255, 255] } = options;
  const columns = options.columns ?? Math.ceil(Math.sqrt(images.length));
  if (!isCount(columns, 1) || !isCount(scale, 1) || !isCount(gap, 0)) {
    throw new DataError(
      'SHEET_BAD_IMAGES',
      `Expected whole columns >= 1, scale >= 1 and gap >= 0, got ${columns}, ${scale} and ${gap}.`,
    );
  }
  const rows = Math.ceil(images.length / columns);
  const width = columns * (w * scale + gap) + gap;
  const height = rows * (h * scale + gap) + gap;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = background[i % 3]!;
  images.forEach((image, index) => {
    const left = gap + (index % columns) * (w * scale + gap);
    const top = gap + Math.floor(index / columns) * (h * scale + gap);
    pasteEnlarged(data, width, image, left, top, scale);
  });
  return { width, height, data };
}

/** The grid of `gridImage` as a PNG file. */
export async function gridPng(images: readonly RgbImage[], options: GridOptions = {}): Promise<Buffer> {
  return encodePng(gridImage(images, options));
}

/** A PNG file of one picture. */
export async function encodePng(image: RgbImage): Promise<Buffer> {
  return rawInput(image).png().toBuffer();
}

export interface AnimationOptions {
  /** Time a frame is shown, in milliseconds. Default 120. */
  delayMs?: number;
  /** The same for the last frame. Default: 1500. */
  lastDelayMs?: number;
  /** How often it plays; 0 (the default) = for ever. */
  loop?: number;
}

/** An animated WebP without loss. All frames must have the same size. */
export async function animatedWebp(frames: readonly RgbImage[], options: AnimationOptions = {}): Promise<Buffer> {
  const { delay, loop } = timing(frames, options);
  return joined(frames).webp({ lossless: true, effort: 4, delay, loop }).toBuffer();
}

/** The same as GIF, for viewers without WebP: at most 256 colours a frame, delays in steps of 10 ms. */
export async function animatedGif(frames: readonly RgbImage[], options: AnimationOptions = {}): Promise<Buffer> {
  const { delay, loop } = timing(frames, options);
  return joined(frames).gif({ delay, loop, effort: 7, dither: 0 }).toBuffer();
}

function timing(frames: readonly RgbImage[], options: AnimationOptions): { delay: number[]; loop: number } {
  sameSize(frames);
  const { delayMs = 120, lastDelayMs = 1500, loop = 0 } = options;
  return { delay: frames.map((_, i) => (i === frames.length - 1 ? lastDelayMs : delayMs)), loop };
}

/** The frames below each other as one image with pages, which is how sharp holds an animation. */
function joined(frames: readonly RgbImage[]) {
  const { width, height } = frames[0]!;
  const data = new Uint8Array(width * height * 3 * frames.length);
  for (const [i, frame] of frames.entries()) data.set(frame.data, i * width * height * 3);
  return sharp(data, { raw: { width, height: height * frames.length, channels: 3, pageHeight: height } });
}

function rawInput({ width, height, data }: RgbImage) {
  return sharp(data, { raw: { width, height, channels: 3 } });
}

function sameSize(images: readonly RgbImage[]): { width: number; height: number } {
  const first = images[0];
  if (first === undefined) throw new DataError('SHEET_BAD_IMAGES', 'Expected at least one picture, got none.');
  images.forEach(({ width, height, data }, i) => {
    if (width === first.width && height === first.height && data.length === width * height * 3) return;
    throw new DataError(
      'SHEET_BAD_IMAGES',
      `Expected pictures of ${first.width}×${first.height} with 3 bytes a pixel, ` +
        `got ${width}×${height} with ${data.length} bytes at index ${i}.`,
    );
  });
  return first;
}

function isCount(value: number, least: number): boolean {
  return Number.isInteger(value) && value >= least;
}

function pasteEnlarged(into: Uint8Array, intoWidth: number, image: RgbImage, left: number, top: number, scale: number) {
  for (let y = 0; y < image.height * scale; y++) {
    const row = Math.floor(y / scale) * image.width;
    let at = ((top + y) * intoWidth + left) * 3;
    for (let x = 0; x < image.width * scale; x++) {
      const from = (row + Math.floor(x / scale)) * 3;
      into[at] = image.data[from]!;
      into[at + 1] = image.data[from + 1]!;
      into[at + 2] = image.data[from + 2]!;
      at += 3;
    }
  }
}
