/** The images of a fit in memory: scanned, split, decoded at one size, with a fingerprint that a resumed run checks. */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { type ImageItem, openImageFolder } from '../../data/image-folder.ts';
import { loadImages } from '../../data/load-images.ts';
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
  const train = yield* load(split.train, size, signal);
  const heldOut = split.heldOut.length === 0 ? emptyBlock(size) : yield* load(split.heldOut, size, signal);
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
): AsyncGenerator<PipelineEvent, LabelledPixels> {
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
    yield { kind: 'progress', stage: STAGE, done, total: items.length, unit: 'image' };
  }
  const { pixels, labels, skipped } = await loading;
  for (const { path, reason } of skipped.slice(0, 5)) yield { kind: 'warning', message: `skipped ${path}: ${reason}` };
  if (skipped.length > 5) yield { kind: 'warning', message: `… and ${skipped.length - 5} more files skipped` };
  return { pixels, labels: Array.from(labels), size };
}

function emptyBlock(size: number): LabelledPixels {
  return { pixels: new Uint8Array(0), labels: [], size };
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
