/**
 * Finds the images of a folder: one sub-folder a class, or a flat folder as a single class named after itself.
 *
 * Labels are places in the sorted list of class names, and everything is in byte order of the UTF-8 names, so that a
 * folder gives the same list on every machine. Nothing is opened here: broken files show when they are loaded.
 */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { DataError } from './data-error.ts';
import { unitHash } from './path-hash.ts';

export interface ImageItem {
  path: string;
  /** Where the image lies in the file, when it is a member of an archive. */
  range?: { offset: number; size: number };
  /** Path inside the folder with `/` between its parts, the same on every machine. */
  relativePath: string;
  /** Index into `classes`. */
  label: number;
}

export interface ImageFolder {
  classes: string[];
  items: ImageItem[];
  /** What was passed over, except hidden files. */
  ignored: { path: string; reason: string }[];
}

/** Extensions that are taken for images, in lower case. */
export const imageExtensions = ['.jpg', '.jpeg', '.png', '.gif', '.webp', '.avif', '.tif', '.tiff'];

export interface ScanOptions {
  /** Expected class names, in the order of their labels; default: the folders that hold images, sorted. */
  classes?: readonly string[];
  /** The one class of a folder without class folders; default: the folder's name. */
  flatClass?: string;
  signal?: AbortSignal;
}

/**
 * Lists the images below a folder. Images may lie at any depth inside a class folder; hidden files (`.name`) are
 * skipped. Images that lie beside class folders belong to no class and are reported in `ignored`.
 */
export async function scanImageFolder(root: string, options: ScanOptions = {}): Promise<ImageFolder> {
  const top = resolve(root);
  const scan: Scan = { ignored: [], visited: new Set([await realFolder(top)]), signal: options.signal };
  const loose: string[] = [];
  const byClass = new Map<string, string[]>();
  for (const { name, isFolder } of await readFolder(top, scan)) {
    if (!isFolder) {
      addFile(top, name, loose, scan);
      continue;
    }
    const found: string[] = [];
    await collect(top, name, found, scan);
    if (found.length > 0) byClass.set(name, found);
    else scan.ignored.push({ path: join(top, name), reason: 'a folder without images' });
  }

  if (byClass.size > 0) {
    for (const name of loose) scan.ignored.push({ path: join(top, name), reason: 'beside the class folders' });
  } else if (loose.length > 0) {
    byClass.set(options.flatClass ?? basename(top), loose);
  } else {
    throw new DataError(
      'FOLDER_EMPTY',
      `Expected images (${imageExtensions.join(' ')}) in ${top} or in its sub-folders, one a class, got none` +
        `${scan.ignored.length > 0 ? ` among ${scan.ignored.length} other entries` : ''}.`,
    );
  }
  return labelled(top, byClass, scan.ignored, options.classes);
}

/** Names of folders that hold the held-out part of a data set that comes split. */
export const HELD_OUT_FOLDERS = ['held-out', 'val', 'validation', 'test'];

export interface SplitFolder {
  classes: string[];
  train: ImageItem[];
  heldOut: ImageItem[];
  ignored: ImageFolder['ignored'];
}

/**
 * An image folder in two parts. A folder with `train/` and one of `held-out/`, `val/`, `validation/`, `test/` comes
 * split; any other folder is split by `splitHeldOut`.
 */
export async function openImageFolder(
  root: string,
  options: { heldOutFraction?: number; seed?: number; signal?: AbortSignal } = {},
): Promise<SplitFolder> {
  const { heldOutFraction = 0.08, seed = 0, signal } = options;
  await realFolder(resolve(root));
  const entries = await readdir(root);
  const heldOutName = HELD_OUT_FOLDERS.find((name) => entries.includes(name));
  if (entries.includes('train') && heldOutName !== undefined) {
    // Two folders without classes are of one class.
    const how = { flatClass: basename(resolve(root)), signal };
    const train = await scanImageFolder(join(root, 'train'), how);
    const heldOut = await scanImageFolder(join(root, heldOutName), { ...how, classes: train.classes });
    return {
      classes: train.classes,
      train: train.items,
      heldOut: heldOut.items,
      ignored: [...train.ignored, ...heldOut.ignored],
    };
  }
  const { classes, items, ignored } = await scanImageFolder(root, { signal });
  return { classes, ...splitHeldOut(items, heldOutFraction, seed), ignored };
}

/**
 * Divides items by a hash of their relative path: about `fraction` (in [0, 1)) of them is held out, and who is does not
 * depend on the other files. Each class keeps at least one image for training; from four images on, one at least is
 * held out (if fraction > 0).
 */
export function splitHeldOut<T extends { relativePath: string; label: number }>(
  items: readonly T[],
  fraction: number,
  seed = 0,
): { train: T[]; heldOut: T[] } {
  if (!(fraction >= 0 && fraction < 1)) {
    throw new DataError('FOLDER_BAD_SPLIT', `Expected a held-out fraction in [0, 1), got ${fraction}.`);
  }
  const hashes = items.map(({ relativePath }) => unitHash(relativePath, seed));
  const order = items.map((_, i) => i).sort((a, b) => hashes[a]! - hashes[b]! || a - b);
  // The image of each class with the largest hash is the last one that could be held out: it always trains.
  const kept = new Set(new Map(order.map((i) => [items[i]!.label, i])).values());
  const candidates = order.filter((i) => !kept.has(i));
  const chosen = new Set(candidates.filter((i) => hashes[i]! < fraction));
  if (chosen.size === 0 && fraction > 0 && items.length >= 4 && candidates.length > 0) chosen.add(candidates[0]!);
  return { train: items.filter((_, i) => !chosen.has(i)), heldOut: items.filter((_, i) => chosen.has(i)) };
}

interface Scan {
  ignored: ImageFolder['ignored'];
  /** Real paths of the folders seen, so that links in a circle end. */
  visited: Set<string>;
  signal: AbortSignal | undefined;
}

function labelled(
  top: string,
  byClass: ReadonlyMap<string, string[]>,
  ignored: ImageFolder['ignored'],
  expected: readonly string[] | undefined,
): ImageFolder {
  const classes = [...(expected ?? [...byClass.keys()].sort(byteOrder))];
  const items: ImageItem[] = [];
  for (const name of [...byClass.keys()].sort(byteOrder)) {
    const label = classes.indexOf(name);
    for (const relativePath of byClass.get(name)!) {
      const path = join(top, relativePath);
      if (label >= 0) items.push({ path, relativePath, label });
      else ignored.push({ path, reason: `its class ${name} is not among the ${classes.length} expected ones` });
    }
  }
  return { classes, items, ignored };
}

/** Adds the relative paths of the images below the folder `top/relative`. */
async function collect(top: string, relative: string, found: string[], scan: Scan): Promise<void> {
  scan.signal?.throwIfAborted();
  for (const { name, isFolder } of await readFolder(join(top, relative), scan)) {
    if (isFolder) await collect(top, `${relative}/${name}`, found, scan);
    else addFile(top, `${relative}/${name}`, found, scan);
  }
}

function addFile(top: string, relativePath: string, found: string[], scan: Scan): void {
  if (imageExtensions.includes(extname(relativePath).toLowerCase())) found.push(relativePath);
  else scan.ignored.push({ path: join(top, relativePath), reason: 'not an image by its extension' });
}

/** The visible files and folders of a folder in byte order; links are followed, what cannot be read is reported. */
async function readFolder(folder: string, scan: Scan): Promise<{ name: string; isFolder: boolean }[]> {
  const entries: { name: string; isFolder: boolean }[] = [];
  // Sorted first: of two names of one folder the same one counts everywhere.
  const found = await readdir(folder, { withFileTypes: true });
  for (const entry of found.sort((a, b) => byteOrder(a.name, b.name))) {
    const { name } = entry;
    if (name.startsWith('.')) continue;
    const path = join(folder, name);
    try {
      const what = entry.isSymbolicLink() ? await stat(path) : entry;
      const isFolder = what.isDirectory();
      if (!isFolder && !what.isFile()) {
        scan.ignored.push({ path, reason: 'neither a file nor a folder' });
        continue;
      }
      const real = isFolder ? await realpath(path) : '';
      if (scan.visited.has(real)) {
        scan.ignored.push({ path, reason: 'a link to a folder that was read already' });
        continue;
      }
      if (isFolder) scan.visited.add(real);
      entries.push({ name, isFolder });
    } catch (error) {
      scan.ignored.push({ path, reason: `cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})` });
    }
  }
  return entries;
}

/** Byte order of UTF-8, which JavaScript's own order is not beyond U+FFFF. */
export function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

async function realFolder(path: string): Promise<string> {
  const what = await stat(path).catch(() => null);
  if (what?.isDirectory()) return realpath(path);
  throw new DataError(
    'FOLDER_MISSING',
    `Expected a folder of images at ${path}, got ${what === null ? 'nothing there' : 'a file'}.`,
  );
}
