/**
 * Pictures to be evaluated, whatever they come from: a number of them, all of one size, in an order, any range of them at a
 * time. A fingerprint tells whether features of an earlier start still belong to them.
 */

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { type ByteReader, openZip, readNpyHeader } from '@tessera/formats';
import { type FileByteReader, openFile } from '@tessera/formats/node';
import { fromTypedArray, type Tensor } from '@tessera/torch';
import { centerCrop } from '../../data/center-crop.ts';
import { decodeImage, type RgbImage } from '../../data/image.ts';
import { type ImageItem, scanImageFolder } from '../../data/image-folder.ts';
import { withoutSummaries } from '../drawn-files.ts';
import { PipelineError } from '../events.ts';

export interface ImageSet {
  /** For people: `folder`, `npz`, `model`, `tokens`. */
  readonly kind: string;
  readonly path: string;
  readonly count: number;
  /** SHA-256 of what decides the pictures. */
  readonly fingerprint: string;
  /** Class of each picture, where it is known. */
  readonly labels: readonly number[] | undefined;
  /** Names by label, where they are known. */
  readonly classes: readonly string[] | undefined;
  /** Pixels of a side, where they are square and it is known without reading one. */
  readonly size?: number;
  /** Pixels of a picture, where it is known without reading one. */
  readonly pixels?: number;
  /** Pictures that may be read at a time; default: as many as the extractor takes. */
  readonly batch?: number;
  /** Pictures [first, first + count) as FeatureExtractor takes them; the caller owns the tensor. */
  read(first: number, count: number): Promise<Tensor>;
  /** The same with numbers that belong to each picture, [count, …]; where absent there are none. */
  readMeasured?(first: number, count: number): Promise<MeasuredImages>;
  dispose(): void;
}

/** The caller owns the tensors. */
export interface MeasuredImages {
  images: Tensor;
  columns: Record<string, Tensor>;
}

/** Deflated archives are unpacked in memory. */
const MOST_INFLATED = 4 * 2 ** 30;
/** Decoded at the same time. */
const CONCURRENCY = 4;

export interface FolderOptions {
  /** What becomes of transparency (data/image.ts): pytorch-fid drops it. Default: laid on white. */
  alpha?: 'drop' | 'white' | undefined;
  signal?: AbortSignal | undefined;
}

export interface FolderSet extends ImageSet {
  /** SHA-256 of the names, labels and sizes of the files: the same for a copy of the folder, unlike the fingerprint. */
  readonly listing: string;
}

/**
 * A folder of images, class folders or flat, without what is drawn beside them (drawn-files.ts). Without `size` all of them
 * must be of one size; with it they are cropped and resized to so many pixels.
 */
export async function openFolderSet(
  path: string,
  size: number | undefined,
  { alpha = 'white', signal }: FolderOptions = {},
): Promise<FolderSet> {
  const found = await scanImageFolder(path, signal === undefined ? {} : { signal });
  const { classes } = found;
  const items = withoutSummaries(found.items);
  // A flat folder is a class of its own name, which says nothing.
  const hasClasses = classes.length > 1 || items.some(({ relativePath }) => relativePath.includes('/'));
  const files = items.map((item) => statSync(item.path));
  const names = items.map(({ relativePath, label }, i) => `${label} ${files[i]!.size} ${relativePath}\n`).join('');
  const times = files.map(({ mtimeMs }) => `${mtimeMs}\n`).join('');
  const how = `${size ?? 'own'} ${alpha}\n`;
  // The first one's, whichever are read first here.
  const [first] = items as [ImageItem];
  const square = { width: size ?? 0, height: size ?? 0, from: '--size' };
  const expected = size === undefined ? await sidesOf(first, alpha) : square;
  return {
    kind: 'folder',
    path,
    count: items.length,
    fingerprint: sha256(`${how}${names}${times}`),
    listing: sha256(`${how}${names}`),
    pixels: expected.width * expected.height,
    labels: hasClasses ? items.map(({ label }) => label) : undefined,
    classes: hasClasses ? classes : undefined,
    async read(first, count) {
      const images: RgbImage[] = [];
      for (let at = first; at < first + count; at += CONCURRENCY) {
        signal?.throwIfAborted();
        const some = items.slice(at, Math.min(at + CONCURRENCY, first + count));
        images.push(...(await Promise.all(some.map((item) => decoded(item, size, alpha)))));
      }
      for (const [i, { width, height }] of images.entries()) {
        if (width === expected.width && height === expected.height) continue;
        throw new PipelineError(
          'IMAGE_SIZES',
          `${path}: expected pictures of one size, got ${expected.width}×${expected.height} (${expected.from}) and ${width}×${height} (${items[first + i]!.relativePath}): features would depend on the size. Add --size PX to crop and resize all.`,
        );
      }
      return stacked(images);
    },
    dispose: () => {},
  };
}

async function sidesOf(
  item: ImageItem,
  alpha: 'drop' | 'white',
): Promise<Pick<RgbImage, 'width' | 'height'> & { from: string }> {
  const { width, height } = await decoded(item, undefined, alpha);
  return { width, height, from: item.relativePath };
}

async function decoded(item: ImageItem, size: number | undefined, alpha: 'drop' | 'white'): Promise<RgbImage> {
  const image = await decodeImage(item.path, { alpha }).catch((error: Error) => {
    throw new PipelineError(
      'IMAGE',
      `${error.message} A set without it would be another set, so nothing is left out: mend or remove the file and run this again.`,
      { cause: error },
    );
  });
  return size === undefined ? image : centerCrop(image, size);
}

/** uint8 [N, Y, X, 3] of pictures of one size. */
export function stacked(images: readonly RgbImage[]): Tensor {
  const { width, height } = images[0]!;
  const bytes = width * height * 3;
  const block = new Uint8Array(images.length * bytes);
  for (const [i, { data }] of images.entries()) block.set(data, i * bytes);
  return fromTypedArray(block, [images.length, height, width, 3]);
}

/** An archive with `arr_0`, uint8 [N, Y, X, 3]: what samplers write for the ADM evaluator, and its reference files. */
export function openNpzSet(path: string): ImageSet {
  const file = openFile(path);
  try {
    const { reader, shape, offset } = openPictures(file);
    const [count, height, width] = shape;
    const bytes = height * width * 3;
    return {
      kind: 'npz',
      path,
      count,
      pixels: height * width,
      fingerprint: sha256(`${shape.join('×')} ${fileIdentity(path)}`),
      labels: undefined,
      classes: undefined,
      async read(first, some) {
        const block = reader.read(offset + first * bytes, some * bytes);
        return fromTypedArray(block, [some, height, width, 3]);
      },
      dispose: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function openPictures(file: FileByteReader): {
  reader: ByteReader;
  shape: readonly [number, number, number];
  offset: number;
} {
  const zip = openZip(file, { inflateAllowance: MOST_INFLATED });
  const entry = zip.entries.get('arr_0.npy');
  if (entry === undefined) {
    const names = [...zip.entries.keys()].slice(0, 6).join(', ');
    throw new PipelineError('NPZ', `${file.name}: expected pictures as arr_0, got ${names || 'an empty archive'}.`);
  }
  const reader = zip.open(entry);
  const header = readNpyHeader(reader);
  const { shape, dtype, fortranOrder } = header;
  if (dtype !== 'uint8' || shape.length !== 4 || shape[3] !== 3 || fortranOrder || shape.some((side) => side < 1)) {
    throw new PipelineError(
      'NPZ',
      `${file.name}: expected arr_0 as uint8 [N, Y, X, 3] in C order, got ${dtype} [${shape.join(', ')}]: convert the pictures to 8-bit RGB.`,
    );
  }
  return { reader, shape: [shape[0]!, shape[1]!, shape[2]!], offset: header.dataOffset };
}

/** SHA-256 of a file, read in parts. */
export async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Name-independent enough to notice another file, without reading it all. */
export function fileIdentity(path: string): string {
  const { size, mtimeMs } = statSync(path);
  return `${size} ${mtimeMs}`;
}

export function isModelFolder(path: string): boolean {
  return existsSync(join(path, 'config.json')) && existsSync(join(path, 'model.safetensors'));
}

export function isArchive(path: string): boolean {
  return extname(path) === '.npz';
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
