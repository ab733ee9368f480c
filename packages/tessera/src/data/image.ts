/**
 * Decodes an image file to 8-bit RGB. The policies are those of Pillow's `Image.open(...).convert("RGB")`, on which the
 * reference systems were trained:
 *
 *   palette, grey, 1-bit   looked up / repeated into three channels
 *   16 bits a channel      the high byte
 *   CMYK, YCCK             naive: R = (255 - K)(255 - C) / 255; a colour profile is not applied
 *   colour profiles        ignored
 *   alpha                  dropped; with `alpha: 'white'` the picture is laid on white instead
 *   orientation (EXIF)     ignored; with `orientation: 'apply'` the picture is turned upright
 *   animations, pages      the first one
 *
 * JPEG, PNG, WebP, TIFF and opaque GIF were compared with Pillow 12.3 and are equal bit for bit (JPEG: 100 photographs,
 * no value differs; both carry libjpeg-turbo 3.1, and a Pillow built with another one may differ by a level). Different: 16-bit grey
 * (scaled here, clipped at 255 there), the hidden colour under transparent GIF pixels (black here), AVIF (other rounding).
 * Formats are told by content, not by name. Decoding runs in sharp's thread pool.
 */
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { DataError } from './data-error.ts';

/** data — [Y, X, 3] uint8, red, green, blue, without padding. */
export interface RgbImage {
  width: number;
  height: number;
  data: Uint8Array;
}

export interface DecodeOptions {
  /** `drop` (default) keeps the hidden colours under transparency, as Pillow does; `white` composites on white. */
  alpha?: 'drop' | 'white';
  /** `ignore` (default) keeps the stored orientation, as Pillow does; `apply` turns the picture as EXIF says. */
  orientation?: 'ignore' | 'apply';
  /** Larger pictures are refused before they are decoded. */
  maxPixels?: number;
  /** What errors call bytes that come from no file of their own. */
  name?: string;
}

/** About 10,000 × 10,000: 300 MB decoded. (Pillow warns from 89 million on.) */
export const DEFAULT_MAX_PIXELS = 100_000_000;

/** What sharp calls the formats that are read. SVG is left out on purpose: it has no pixels of its own. */
export const imageFormats = ['jpeg', 'png', 'gif', 'webp', 'heif', 'tiff'] as const;

/** Decodes a file (by path) or the bytes of one. */
export async function decodeImage(source: string | Uint8Array, options: DecodeOptions = {}): Promise<RgbImage> {
  const { alpha = 'drop', orientation = 'ignore', maxPixels = DEFAULT_MAX_PIXELS } = options;
  const where = options.name ?? (typeof source === 'string' ? source : `the given ${source.length} bytes`);
  const bytes = typeof source === 'string' ? await readBytes(source) : source;
  if (bytes.length === 0) throw new DataError('IMAGE_EMPTY', `Expected an image in ${where}, got an empty file.`);

  try {
    const isCmyk = await checkHeader(bytes, where, maxPixels);
    // `failOn: error` refuses truncated files and tolerates what Pillow tolerates (stray bytes between JPEG segments).
    let image = sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true });
    if (orientation === 'apply') image = image.autoOrient();
    if (isCmyk) image = image.pipelineColourspace('cmyk').toColourspace('cmyk');
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
    const pixels = isCmyk ? rgbFromCmyk(data, info.channels) : rgbFrom(data, info.channels, alpha);
    return { width: info.width, height: info.height, data: pixels };
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw unreadable(where, (cause as Error).message, cause);
  }
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw unreadable(path, (cause as Error).message, cause);
  }
}

/** Refuses formats and sizes before a pixel is decoded; tells whether the file is CMYK. */
async function checkHeader(bytes: Uint8Array, where: string, maxPixels: number): Promise<boolean> {
  const { format, width, height, space } = await sharp(bytes, { limitInputPixels: false }).metadata();
  if (!(imageFormats as readonly string[]).includes(format)) throw unreadable(where, `it is ${format}`);
  if (width * height > maxPixels) {
    throw new DataError(
      'IMAGE_TOO_LARGE',
      `Expected an image of at most ${maxPixels} pixels in ${where}, got ${width}×${height}: make it smaller first.`,
    );
  }
  return space === 'cmyk';
}

function unreadable(where: string, why: string, cause?: unknown): DataError {
  // libvips reports on several lines; one sentence is enough for people.
  const reason = why.trim().split('\n')[0]!.replace(/\.$/, '');
  return new DataError(
    'IMAGE_UNREADABLE',
    `Cannot read an image (JPEG, PNG, GIF, WebP, AVIF or TIFF) from ${where}: ${reason}.`,
    { cause },
  );
}

/** From 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) interleaved channels. */
function rgbFrom(data: Uint8Array, channels: number, alpha: 'drop' | 'white'): Uint8Array {
  if (channels === 3) return data;
  const hasAlpha = channels === 2 || channels === 4;
  const green = channels < 3 ? 0 : 1;
  const count = data.length / channels;
  const rgb = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const from = i * channels;
    const opacity = hasAlpha && alpha === 'white' ? data[from + channels - 1]! : 255;
    const white = (255 - opacity) * 255;
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = divideBy255(data[from + c * green]! * opacity + white);
  }
  return rgb;
}

/** Ink values, 255 = full ink. */
function rgbFromCmyk(data: Uint8Array, channels: number): Uint8Array {
  const count = data.length / channels;
  const rgb = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const light = 255 - data[i * channels + 3]!;
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = light - divideBy255(data[i * channels + c]! * light);
  }
  return rgb;
}

/** x / 255 to the nearest integer, for 0 <= x <= 255². */
function divideBy255(x: number): number {
  return Math.floor((x + 127) / 255);
}
