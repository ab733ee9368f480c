/**
 * The pictures of an evaluation's report: samples by class, the samples nearest to the reference beside what they are
 * near to, and of a reconstruction the originals above what came back.
 */

import { noGrad, scope, type Tensor } from '@tessera/torch';
import { gridPng } from '../../data/contact-sheet.ts';
import { evenly } from '../../data/evenly.ts';
import type { RgbImage } from '../../data/image.ts';
import { toRgbImages } from '../decode-tokens.ts';
import type { ReportImage } from '../report.ts';
import type { FeatureStore } from './feature-store.ts';
import type { ImageSet } from './image-set.ts';
import type { Source } from './open-source.ts';
import type { EvaluationResult } from './result.ts';

const COLUMNS = 8;
const ROWS = 8;
/** Pairs of a sample and what it is nearest to. */
const PAIRS = 24;
/** Reports stay small: larger pictures are shrunk in a grid by the page. */
const SHOWN_PIXELS = 64;

export interface ReportPictures {
  samples: ReportImage;
  /** Names of the classes of the rows, where rows are classes. */
  rows: string[];
  pairs: ReportImage | undefined;
}

export async function reportPictures(
  { images, originals }: Source,
  { memorisation }: EvaluationResult,
  reference: ImageSet | undefined,
  store: FeatureStore,
): Promise<ReportPictures> {
  if (originals !== undefined) return { samples: await reconstructions(originals, images), rows: [], pairs: undefined };
  const { indices, labels } = gridIndices(images);
  const rows = labels.map((label) => images.classes?.[label] ?? `class ${label}`);
  const caption = rows.length === 0 ? 'samples, evenly chosen' : 'a class a row';
  const samples = await image(await picturesOf(images, indices, store), COLUMNS, caption);
  if (memorisation === undefined || reference === undefined) return { samples, rows, pairs: undefined };
  const tiles: RgbImage[] = [];
  for (const { sample, training } of memorisation.nearest.slice(0, PAIRS)) {
    tiles.push(...(await picturesOf(images, [sample], store)), ...(await picturesOf(reference, [training])));
  }
  const { width, height } = tiles[0]!;
  const alike = tiles.every((tile) => tile.width === width && tile.height === height);
  const pairs = alike ? await image(tiles, COLUMNS, 'sample and nearest, pair by pair, nearest first') : undefined;
  return { samples, rows, pairs };
}

/** Rows of originals, each above what came back. */
async function reconstructions(originals: ImageSet, images: ImageSet): Promise<ReportImage> {
  const tiles: RgbImage[] = [];
  const chosen = evenly(images.count, (COLUMNS * ROWS) / 2);
  for (let start = 0; start < chosen.length; start += COLUMNS) {
    const some = chosen.slice(start, start + COLUMNS);
    if (some.length < COLUMNS && start > 0) break; // a short row would put pairs askew
    tiles.push(...(await picturesOf(originals, some)), ...(await picturesOf(images, some)));
  }
  return image(tiles, Math.min(COLUMNS, chosen.length), 'originals, and below each what came back');
}

/** @param store what may hold the pictures, too */
async function picturesOf(images: ImageSet, indices: readonly number[], store?: FeatureStore): Promise<RgbImage[]> {
  const pictures: RgbImage[] = [];
  for (const index of indices) {
    const kept = scope(() => {
      const row = store?.row('pictures', index);
      return row === undefined ? undefined : rgbImages(row);
    });
    if (kept !== undefined) {
      pictures.push(...kept);
      continue;
    }
    const batch = await images.read(index, 1);
    pictures.push(...rgbImages(batch));
    batch.dispose();
  }
  return pictures;
}

function rgbImages(batch: Tensor): RgbImage[] {
  if (batch.dtype !== 'uint8') return noGrad(() => scope(() => toRgbImages(batch)));
  const [, height, width] = batch.shape as [number, number, number, number];
  return [{ width, height, data: new Uint8Array(batch.toBytes()) }];
}

/** Up to 8 of each of up to 8 classes that have as many, evenly chosen; without labels evenly over all. */
function gridIndices({ count, labels }: ImageSet): { indices: number[]; labels: number[] } {
  const all = Array.from({ length: count }, (_, i) => i);
  if (labels === undefined) return { indices: spread(all, COLUMNS * ROWS), labels: [] };
  const byClass = new Map<number, number[]>();
  for (const i of all) {
    const same = byClass.get(labels[i]!);
    if (same === undefined) byClass.set(labels[i]!, [i]);
    else same.push(i);
  }
  const full = [...byClass.keys()].filter((label) => byClass.get(label)!.length >= COLUMNS).sort((a, b) => a - b);
  if (full.length === 0) return { indices: spread(all, COLUMNS * ROWS), labels: [] };
  const chosen = spread(full, ROWS);
  return { indices: chosen.flatMap((label) => spread(byClass.get(label)!, COLUMNS)), labels: chosen };
}

function spread<T>(from: readonly T[], most: number): T[] {
  return evenly(from.length, most).map((i) => from[i]!);
}

async function image(pictures: readonly RgbImage[], columns: number, caption: string): Promise<ReportImage> {
  const scale = Math.max(1, Math.round(SHOWN_PIXELS / pictures[0]!.width));
  return { caption, mime: 'image/png', bytes: await gridPng(pictures, { columns, scale }) };
}
