/** The images of a fit in memory: scanned, split, decoded at one size, with a fingerprint that a resumed run checks. */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { type ImageItem, openImageFolder } from '../../data/image-folder.ts';
import { type LoadedImages, loadImages } from '../../data/load-images.ts';
import type { PixelBlock } from '../decode-tokens.ts';
import type { PipelineEvent } from '../events.ts';

export interface LabelledPixels extends PixelBlock {
  /** [N] class labels. */
  labels: number[];
}

export interface FitImages {
  classes: string[];
  train: LabelledPixels;
  /** May be empty. */
  heldOut: LabelledPixels;
  /** SHA-256 over the split's names, sizes and labels. */
  fingerprint: string;
}

const STAGE = 'images';

export async function* loadFitImages(
  root: string,
  options: { size: number; seed: number; signal: AbortSignal | undefined },
): AsyncGenerator<PipelineEvent, FitImages> {
  const { size, seed, signal } = options;
  yield { kind: 'stage', stage: STAGE, message: `reading ${root} at ${size} px` };
  const split = await openImageFolder(root, { seed, ...(signal === undefined ? {} : { signal }) });
  // Read together: that one part has only broken files is no error as long as something can be read.
  const all = yield* load([...split.train, ...split.heldOut], size, signal);
  const isTrain = new Set(split.train);
  let train = select(all, size, (item) => isTrain.has(item));
  let heldOut = select(all, size, (item) => !isTrain.has(item));
  if (train.labels.length === 0) [train, heldOut] = [heldOut, train];
  if (split.ignored.length > 0) {
    const { path, reason } = split.ignored[0]!;
    yield { kind: 'warning', message: `${split.ignored.length} files passed over, such as ${path}: ${reason}` };
  }
  yield {
    kind: 'note',
    message: `${train.labels.length} images to train on, ${heldOut.labels.length} held out, ${split.classes.length} ${
      split.classes.length === 1 ? 'class' : 'classes'
    }`,
  };
  return { classes: split.classes, train, heldOut, fingerprint: fingerprintOf(split.train, split.heldOut, size) };
}

async function* load(
  items: readonly ImageItem[],
  size: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent, LoadedImages> {
  // loadImages reports by callback; what it said last is told while it works.
  let done = 0;
  const loading = loadImages(items, size, {
    onProgress: (count) => {
      done = count;
    },
    ...(signal === undefined ? {} : { signal }),
  });
  let settled = false;
  const finished = loading.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  while (!settled) {
    await Promise.race([finished, new Promise((resolve) => setTimeout(resolve, 250))]);
    yield { kind: 'progress', stage: STAGE, done, total: items.length, unit: 'images' };
  }
  const loaded = await loading;
  const { skipped } = loaded;
  for (const { path, reason } of skipped.slice(0, 5)) yield { kind: 'warning', message: `skipped ${path}: ${reason}` };
  if (skipped.length > 5) yield { kind: 'warning', message: `… and ${skipped.length - 5} more files skipped` };
  return loaded;
}

/** The loaded rows whose item is wanted. */
function select(
  { pixels, labels, items }: LoadedImages,
  size: number,
  wanted: (item: ImageItem) => boolean,
): LabelledPixels {
  const bytes = size * size * 3;
  const rows = items.flatMap((item, row) => (wanted(item) ? [row] : []));
  const chosen = new Uint8Array(rows.length * bytes);
  for (const [i, row] of rows.entries()) chosen.set(pixels.subarray(row * bytes, (row + 1) * bytes), i * bytes);
  return { pixels: chosen, labels: rows.map((row) => labels[row]!), size };
}

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
