/**
 * The images of a training: scanned, split, with a fingerprint that a resumed run checks. What fits the memory given is
 * decoded here once, and broken files are left out; beyond it pictures are decoded as the training comes to them.
 */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { DataError } from '../../data/data-error.ts';
import { evenly } from '../../data/evenly.ts';
import { type ImageItem, openImageFolder } from '../../data/image-folder.ts';
import { type LabelledPixels, PictureSet } from '../../data/picture-set.ts';
import type { PipelineEvent } from '../events.ts';

export interface FitImages {
  classes: string[];
  train: PictureSet;
  /** May be empty. */
  heldOut: PictureSet;
  /** Held-out pictures to measure on, at most 512, of all classes; may be empty. */
  measured: LabelledPixels;
  /** Those, or where none are held out as many to train on. */
  sample(): Promise<LabelledPixels>;
  /** Seconds of a picture to train on, read from its file and decoded; 0 where all are in memory. */
  secondsToRead(): Promise<number>;
  /** SHA-256 over the split's names, sizes and labels. */
  fingerprint: string;
  /** Ends the workers. */
  close(): Promise<void>;
}

export interface FitImagesOptions {
  /** Pixels of a side. */
  size: number;
  seed: number;
  /** Bytes of decoded pictures that may be kept; default 2 GiB. */
  memory?: number | undefined;
  /** Training looks at random crops, so nothing is decoded before. */
  randomCrop?: boolean;
  signal: AbortSignal | undefined;
}

export const DEFAULT_MEMORY = 2 ** 31;

const STAGE = 'images';
/** Pictures that are measured on: decibels of more of them are the same. */
const MEASURED = 512;
/** Pictures whose reading is timed. */
const READ = 64;
/** Part of the memory for the held-out pictures. */
const HELD_OUT_SHARE = 1 / 8;

export async function* loadFitImages(
  root: string,
  options: FitImagesOptions,
): AsyncGenerator<PipelineEvent, FitImages> {
  const { size, seed, signal, memory = DEFAULT_MEMORY, randomCrop = false } = options;
  yield { kind: 'stage', stage: STAGE, message: `reading ${root} at ${size} px` };
  const split = await openImageFolder(root, { seed, ...(signal === undefined ? {} : { signal }) });
  const forHeldOut = memory * HELD_OUT_SHARE;
  let heldOut = new PictureSet(split.heldOut, { size, memory: forHeldOut });
  let train = new PictureSet(split.train, { size, memory: memory - forHeldOut });
  let trainItems = split.train;
  const close = async (): Promise<void> => {
    await Promise.all([train.close(), heldOut.close()]);
  };
  try {
    yield* load(heldOut, signal);
    if (!randomCrop) yield* load(train, signal);
    // That one part has only broken files is no error as long as something can be read.
    if (train.numImages === 0) [train, heldOut, trainItems] = [heldOut, train, split.heldOut];
    if (train.numImages === 0) {
      const { reason } = heldOut.skipped[0] ?? train.skipped[0]!;
      throw new DataError('FOLDER_ALL_BROKEN', `No image in ${root} can be read; the first failure: ${reason}`);
    }
    if (split.ignored.length > 0) {
      const { path, reason } = split.ignored[0]!;
      yield { kind: 'warning', message: `${split.ignored.length} files passed over, such as ${path}: ${reason}` };
    }
    yield {
      kind: 'note',
      message: `${train.numImages} images to train on, ${heldOut.numImages} held out, ${split.classes.length} ${
        split.classes.length === 1 ? 'class' : 'classes'
      }`,
    };
    const most = Math.min(MEASURED, Math.max(1, Math.floor(forHeldOut / (size * size * 3))));
    const measured = await someOf(heldOut, split.heldOut, most);
    const sample = async () => (measured.labels.length > 0 ? measured : someOf(train, trainItems, MEASURED));
    const secondsToRead = async (): Promise<number> => {
      if (train.fits) return 0;
      const items = evenly(trainItems.length, READ).map((index) => trainItems[index]!);
      const some = new PictureSet(items, { size, memory: 0 });
      try {
        await some.block(READ); // workers start
        const began = performance.now();
        const { labels: read } = await some.block(READ);
        return (performance.now() - began) / 1000 / Math.max(1, read.length);
      } finally {
        await some.close();
      }
    };
    const fingerprint = fingerprintOf(split.train, split.heldOut, size);
    return { classes: split.classes, train, heldOut, measured, sample, secondsToRead, fingerprint, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Pictures of a set, taken evenly.
 *
 * @param items those that the set was made of
 */
async function someOf(set: PictureSet, items: readonly ImageItem[], count: number): Promise<LabelledPixels> {
  const { size, numImages, labels } = set;
  if (numImages === 0) return { pixels: new Uint8Array(0), size, labels: [] };
  if (set.fits) {
    const bytes = size ** 2 * 3;
    const indices = evenly(numImages, count);
    const pixels = new Uint8Array(indices.length * bytes);
    for (const [i, index] of indices.entries()) pixels.set(set.pixels({ index }), i * bytes);
    return { pixels, size, labels: indices.map((index) => labels[index]!) };
  }
  const some = new PictureSet(evenly(items.length, count).map((index) => items[index]!), { size, memory: 0 }); // biome-ignore format: one row
  try {
    return await some.block(count);
  } finally {
    await some.close();
  }
}

/** Decodes a set that fits, says of another that it does not. */
async function* load(set: PictureSet, signal: AbortSignal | undefined): AsyncGenerator<PipelineEvent> {
  const total = set.numImages;
  if (!set.fits) {
    const gigabytes = ((total * set.size ** 2 * 3) / 2 ** 30).toFixed(1);
    yield { kind: 'note', message: `${total} images are ${gigabytes} GiB decoded: read as they are needed` };
    return;
  }
  for await (const done of set.load(signal)) yield { kind: 'progress', stage: STAGE, done, total, unit: 'images' };
  yield* tellSkipped(set);
}

/** Warns of the files of a set that could not be read; `from`: those told before. */
export function* tellSkipped({ skipped }: PictureSet, from = 0): Generator<PipelineEvent> {
  for (const { path, reason } of skipped.slice(from, from + TOLD)) {
    yield { kind: 'warning', message: `skipped ${path}: ${reason}` };
  }
  const rest = skipped.length - from - TOLD;
  if (rest > 0) yield { kind: 'warning', message: `… and ${rest} more files skipped` };
}

const TOLD = 5;

function fingerprintOf(train: readonly ImageItem[], heldOut: readonly ImageItem[], size: number): string {
  const hash = createHash('sha256').update(`${size}\n`);
  for (const [part, items] of [
    ['train', train],
    ['held-out', heldOut],
  ] as const) {
    for (const { path, relativePath, label } of items) {
      hash.update(`${part} ${relativePath} ${label} ${statSync(path).size}\n`);
    }
  }
  return hash.digest('hex');
}
