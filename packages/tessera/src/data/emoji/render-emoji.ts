/**
 * Renders the emoji data set: three icon sets of SVG pictures become an ordinary image folder, one folder a class.
 *
 *   <out>/train/<class>/<code point>-<set>.png
 *   <out>/held-out/<class>/<code point>-<set>.png
 *   <out>/dataset.json, credits.txt
 *
 * Held out is by code point: all styles of an emoji lie on the same side, so a generator is never tested on a picture
 * whose twin it has seen. In each class the code points with the smallest hash go, at least one.
 *
 * The folder appears whole or not at all: rendering goes to a neighbour folder that is renamed at the end, and a folder
 * that is complete (its dataset.json is written last, and the files are counted) is left alone.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import sharp from 'sharp';
import { DataError } from '../data-error.ts';
import { unitHash } from '../path-hash.ts';
import { resizeImage } from '../resize.ts';
import { emojiClassNames } from './classes.ts';
import { type EmojiIcon, type IconSetInfo, readEmojiIcons } from './icon-sets.ts';

/** Changes whenever other pictures, classes or sides of the split would come out. */
export const EMOJI_VERSION = 1;
export const EMOJI_HELD_OUT_FRACTION = 0.08;

export interface RenderEmojiOptions {
  /** Folder to make. */
  out: string;
  /** Side of the pictures in pixels: 32 by default. */
  size?: number;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
  /** The pictures; default: the three icon sets. */
  source?: { icons: EmojiIcon[]; sets: IconSetInfo[] };
}

/** What `dataset.json` holds. */
export interface EmojiSummary {
  name: 'emoji';
  version: number;
  size: number;
  /** In the order of their labels. Counts are pictures. */
  classes: { name: string; train: number; heldOut: number }[];
  train: number;
  heldOut: number;
  codePoints: number;
  heldOutFraction: number;
  sets: IconSetInfo[];
}

/** Makes the folder, or finds it made (`rendered` false). */
export async function renderEmoji(options: RenderEmojiOptions): Promise<EmojiSummary & { rendered: boolean }> {
  const { size = 32, signal } = options;
  if (!Number.isInteger(size) || size < 8 || size > 1024) {
    throw new DataError('RESIZE_BAD_SIZE', `Expected an emoji size from 8 to 1024 whole pixels, got ${size}.`);
  }
  const out = resolve(options.out);
  const { icons, sets } = options.source ?? readEmojiIcons();
  const split = splitByCodePoint(icons);
  const summary = summarize(icons, split, size, sets);
  if (await isComplete(out, summary)) return { ...summary, rendered: false };
  await refuseForeignFolder(out);

  await mkdir(dirname(out), { recursive: true });
  await removeLeftovers(out);
  const partial = `${out}.partial-${process.pid}`;
  try {
    await renderInto(partial, icons, split, size, options.onProgress, signal);
    await writeFile(join(partial, 'credits.txt'), credits(sets));
    await writeFile(join(partial, 'dataset.json'), `${JSON.stringify(summary, null, 2)}\n`);
    signal?.throwIfAborted();
    await rm(out, { recursive: true, force: true });
    await rename(partial, out);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  return { ...summary, rendered: true };
}

/** Code points that are held out. */
function splitByCodePoint(icons: readonly EmojiIcon[]): Set<string> {
  const byClass = new Map<string, Set<string>>();
  for (const { className, codePoint } of icons) {
    const points = byClass.get(className) ?? new Set();
    byClass.set(className, points.add(codePoint));
  }
  const heldOut = new Set<string>();
  for (const points of byClass.values()) {
    const ordered = [...points].sort((a, b) => unitHash(a) - unitHash(b));
    const count = Math.max(1, Math.round(ordered.length * EMOJI_HELD_OUT_FRACTION));
    for (const codePoint of ordered.slice(0, count)) heldOut.add(codePoint);
  }
  return heldOut;
}

function summarize(icons: readonly EmojiIcon[], heldOut: ReadonlySet<string>, size: number, sets: IconSetInfo[]) {
  const classes = emojiClassNames().map((name) => ({ name, train: 0, heldOut: 0 }));
  const byName = new Map(classes.map((entry) => [entry.name, entry]));
  for (const { className, codePoint } of icons) byName.get(className)![heldOut.has(codePoint) ? 'heldOut' : 'train']++;
  const summary: EmojiSummary = {
    name: 'emoji',
    version: EMOJI_VERSION,
    size,
    classes,
    train: classes.reduce((sum, { train }) => sum + train, 0),
    heldOut: classes.reduce((sum, entry) => sum + entry.heldOut, 0),
    codePoints: new Set(icons.map(({ codePoint }) => codePoint)).size,
    heldOutFraction: EMOJI_HELD_OUT_FRACTION,
    sets,
  };
  return summary;
}

/** sharp runs one picture a thread of its pool; more in flight only costs memory. */
const IN_FLIGHT = 4;

async function renderInto(
  root: string,
  icons: readonly EmojiIcon[],
  heldOut: ReadonlySet<string>,
  size: number,
  onProgress?: (done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (const className of emojiClassNames()) {
    for (const side of ['train', 'held-out']) await mkdir(join(root, side, className), { recursive: true });
  }
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < icons.length) {
      signal?.throwIfAborted();
      const { codePoint, set, className, svg } = icons[next++]!;
      const side = heldOut.has(codePoint) ? 'held-out' : 'train';
      const png = await rasterize(svg, size);
      await writeFile(join(root, side, className, `${codePoint}-${set}.png`), png);
      onProgress?.(++done, icons.length);
    }
  };
  const results = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, work));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Drawn larger than wanted, then averaged: librsvg alone leaves light seams where two shapes share an edge. */
const SUPERSAMPLING = 4;

async function rasterize(svg: string, size: number): Promise<Buffer> {
  const side = size * SUPERSAMPLING;
  const sized = svg.replace('<svg ', `<svg width="${side}" height="${side}" `);
  const { data, info } = await sharp(Buffer.from(sized))
    .flatten({ background: '#ffffff' })
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const small = resizeImage({ width: info.width, height: info.height, data }, size, size, 'box');
  return sharp(small.data, { raw: { width: size, height: size, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toBuffer();
}

function credits(sets: readonly IconSetInfo[]): string {
  const lines = sets.map(
    ({ title, author, licence, url, package: name, version }) =>
      `*-${name.split('/')[1]}.png: ${title} by ${author}, ${licence}, ${url} (npm package ${name} ${version})`,
  );
  return `Emoji pictures, rendered from SVG. Changed: rasterised on white, sorted into classes.\n\n${lines.join('\n')}\n`;
}

/** Whether the folder holds this data set and no file is missing. */
async function isComplete(out: string, expected: EmojiSummary): Promise<boolean> {
  try {
    if (JSON.stringify(JSON.parse(await readFile(join(out, 'dataset.json'), 'utf8'))) !== JSON.stringify(expected)) {
      return false;
    }
    for (const { name, train, heldOut } of expected.classes) {
      if ((await readdir(join(out, 'train', name))).length !== train) return false;
      if ((await readdir(join(out, 'held-out', name))).length !== heldOut) return false;
    }
    return true;
  } catch {
    return false;
  }
}

/** Only an emoji folder of ours (another version or size, or damaged) may be replaced. */
async function refuseForeignFolder(out: string): Promise<void> {
  let entries: string[];
  try {
    entries = await readdir(out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new DataError('EMOJI_OUTPUT_TAKEN', `Expected a folder at ${out} or nothing: ${(error as Error).message}.`, {
      cause: error,
    });
  }
  if (entries.length === 0 || (entries.includes('credits.txt') && entries.includes('train'))) return;
  throw new DataError(
    'EMOJI_OUTPUT_TAKEN',
    `The folder ${out} holds files that are not the emoji data set: choose another one or empty it.`,
  );
}

/** Removes what killed runs left behind; a run that still lives keeps its folder. */
async function removeLeftovers(out: string): Promise<void> {
  const prefix = `${out}.partial-`;
  for (const entry of await readdir(dirname(out))) {
    const path = join(dirname(out), entry);
    if (!path.startsWith(prefix)) continue;
    const pid = Number(path.slice(prefix.length));
    if (pid === process.pid || !isRunning(pid)) await rm(path, { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
