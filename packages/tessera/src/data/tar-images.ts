/**
 * Images inside tar archives, left where they are. Two kinds of archives are read:
 *
 *   WebDataset     members that share a name up to the first dot are one sample: `0001.jpg` with `0001.cls`, or with a
 *                  `0001.json` that has `label`, `cls` or `class`; a class is a whole number, or a name
 *   class folders  `n01440764/n01440764_10026.JPEG`: the folder is the class, as on disk; without folders all are one
 *
 * Only headers and classes are read here; the workers that decode read the images.
 */
import { basename, extname } from 'node:path';
import { type ByteReader, tarEntries } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { DataError } from './data-error.ts';
import { byteOrder, type ImageFolder, type ImageItem, imageExtensions } from './image-folder.ts';

/** A class as a sample's own member says it. */
type SaidClass = number | string;

interface Found {
  item: Omit<ImageItem, 'label'>;
  /** Of a `.cls` or `.json` beside the image. */
  said?: SaidClass;
  /** Name of the folder in the archive, '' at the top. */
  folder: string;
}

/** Largest `.cls` or `.json` that is read. */
const LARGEST_TEXT = 1 << 20;
const LARGEST_LABEL = 1 << 20;

/** Lists archives in the order given. Item paths are `archive.tar/member`. */
export async function scanTars(
  paths: readonly string[],
  options: { signal?: AbortSignal | undefined } = {},
): Promise<ImageFolder> {
  const found: Found[] = [];
  const ignored: ImageFolder['ignored'] = [];
  for (const path of paths) {
    options.signal?.throwIfAborted();
    withFile(path, (reader) => scanOne(path, reader, found, ignored));
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (found.length === 0) {
    throw new DataError(
      'FOLDER_EMPTY',
      `Expected images (${imageExtensions.join(' ')}) in ${paths.length} tar files such as ${paths[0]}, got none.`,
    );
  }
  return labelled(found, ignored, paths);
}

function scanOne(path: string, reader: ByteReader, found: Found[], ignored: ImageFolder['ignored']): void {
  const saidByKey = new Map<string, SaidClass>();
  const first = found.length;
  const keys: string[] = [];
  const compound: boolean[] = [];
  for (const { name, kind, offset, size } of tarEntries(reader)) {
    const file = basename(name);
    if (file.startsWith('.')) continue;
    if (kind !== 'file') {
      if (kind === 'other' && imageExtensions.includes(extname(file).toLowerCase())) {
        ignored.push({ path: `${path}/${name}`, reason: 'a link: only files are read' });
      }
      continue;
    }
    const dot = file.indexOf('.');
    const stem = dot < 0 ? file : file.slice(0, dot);
    const key = name.slice(0, name.length - file.length) + stem;
    const extension = dot < 0 ? '' : file.slice(dot).toLowerCase();
    if (extension === '.cls' || extension === '.json') {
      const said = readClass(reader, extension, { name, offset, size });
      // A .cls speaks louder than a .json, whichever comes first.
      if (said !== undefined && (extension === '.cls' || !saidByKey.has(key))) saidByKey.set(key, said);
    } else if (imageExtensions.includes(extension) || (dot > 0 && isClassFolderImage(name, file))) {
      const parts = name.split('/').filter((part) => part !== '' && part !== '.');
      keys.push(key);
      compound.push(extension !== extname(file).toLowerCase());
      found.push({
        item: { path, relativePath: `${basename(path)}/${name}`, range: { offset, size } },
        folder: parts.length > 1 ? parts[0]! : '',
      });
    } else {
      ignored.push({ path: `${path}/${name}`, reason: 'not an image by its extension' });
    }
  }
  const ofThis = found.splice(first);
  for (const [i, one] of ofThis.entries()) {
    const said = saidByKey.get(keys[i]!);
    if (said !== undefined && compound[i]!) {
      // `0001.seg.png` beside `0001.jpg`: a mask has its sample's name, and its class.
      ignored.push({ path: `${path}/${one.item.relativePath}`, reason: 'another picture of its sample' });
      continue;
    }
    found.push(said === undefined ? one : { ...one, said });
  }
}

/** `a/photo.of.a.cat.jpg`: dots in names are no extensions where folders are the classes. */
function isClassFolderImage(name: string, file: string): boolean {
  return name !== file && imageExtensions.includes(extname(file).toLowerCase());
}

function readClass(
  reader: ByteReader,
  extension: string,
  { name, offset, size }: { name: string; offset: number; size: number },
): SaidClass | undefined {
  const fail = (why: string): never => {
    throw new DataError('TAR_CLASSES', `${reader.name}/${name}: ${why}`);
  };
  if (size > LARGEST_TEXT) return fail(`expected a class, got ${size} bytes.`);
  const text = Buffer.from(reader.read(offset, size)).toString('utf8').trim();
  if (extension === '.cls') return classOf(text) ?? fail('expected a class, got an empty file.');
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return fail('expected JSON, got something else.');
  }
  if (typeof fields !== 'object' || fields === null) return undefined;
  const { label, cls, class: className } = fields as Record<string, unknown>;
  const value = label ?? cls ?? className;
  if (typeof value === 'number' || typeof value === 'string') return classOf(String(value));
  return undefined;
}

function classOf(text: string): SaidClass | undefined {
  if (text === '') return undefined;
  return /^\d{1,9}$/.test(text) ? Number(text) : text;
}

/** Numbers are labels as they are; names and folders are labelled in byte order. */
function labelled(found: readonly Found[], ignored: ImageFolder['ignored'], paths: readonly string[]): ImageFolder {
  if (!found.some(({ said }) => said !== undefined)) {
    const byFolder = found.some(({ folder }) => folder !== '');
    return byName(found, ignored, ({ folder }) => (byFolder ? folder : basename(paths[0]!, '.tar')));
  }
  if (found.some(({ said }) => typeof said === 'string')) {
    return byName(found, ignored, ({ said }) => (said === undefined ? '' : String(said)));
  }
  const items: ImageItem[] = [];
  let highest = 0;
  for (const { item, said } of found) {
    if (said === undefined) {
      ignored.push({ path: `${item.path}/${item.relativePath}`, reason: 'no .cls or .json with its class' });
      continue;
    }
    const label = said as number;
    if (label > LARGEST_LABEL) {
      throw new DataError(
        'TAR_CLASSES',
        `${item.relativePath}: expected a class below ${LARGEST_LABEL}, got ${label}.`,
      );
    }
    highest = Math.max(highest, label);
    items.push({ ...item, label });
  }
  return { classes: Array.from({ length: highest + 1 }, (_, label) => String(label)), items, ignored };
}

function byName(
  found: readonly Found[],
  ignored: ImageFolder['ignored'],
  nameOf: (found: Found) => string,
): ImageFolder {
  const classes = [...new Set(found.map(nameOf))].filter((name) => name !== '').sort(byteOrder);
  const labels = new Map(classes.map((name, label) => [name, label]));
  const items: ImageItem[] = [];
  for (const each of found) {
    const label = labels.get(nameOf(each));
    if (label !== undefined) items.push({ ...each.item, label });
    else ignored.push({ path: each.item.relativePath, reason: 'it belongs to no class' });
  }
  return { classes, items, ignored };
}
