/** Where images to tokenize come from: a folder of classes, tar files, or one tar file. */
import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { nameClasses } from './class-names.ts';
import { DataError } from './data-error.ts';
import { byteOrder, HELD_OUT_FOLDERS, type ImageFolder, scanImageFolder } from './image-folder.ts';
import { imagenetNames } from './imagenet-classes.ts';
import { scanTars } from './tar-images.ts';

export interface SourceOptions {
  /** File of class names, see class-names.ts, or `imagenet`: all its 1,000 classes, whichever of them have images. */
  classNames?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Lists the images of one split in the order of the reference systems: classes in byte order of their names, files in
 * byte order of theirs; of tar files, in the order of the archives. Folders that are all called by WordNet ids of
 * ImageNet are classes with its standard names.
 */
export async function openImageSource(root: string, options: SourceOptions = {}): Promise<ImageFolder> {
  const { classNames, signal } = options;
  const found = await scan(resolve(root), signal);
  if (classNames !== undefined) return nameClasses(found, classNames);
  return { ...found, classes: imagenetNames(found.classes) ?? found.classes };
}

async function scan(root: string, signal: AbortSignal | undefined): Promise<ImageFolder> {
  const heedSignal = signal === undefined ? {} : { signal };
  if (existsSync(root) && statSync(root).isFile() && root.endsWith('.tar')) return scanTars([root], heedSignal);
  if (!existsSync(root) || !statSync(root).isDirectory()) return scanImageFolder(root, heedSignal);
  const entries = await readdir(root);
  const heldOut = HELD_OUT_FOLDERS.find((name) => entries.includes(name));
  if (entries.includes('train') && heldOut !== undefined) {
    throw new DataError(
      'FOLDER_OF_SPLITS',
      `Expected the images of one split, got a folder of splits (train, ${heldOut}): give ${join(root, 'train')} or ` +
        `${join(root, heldOut)}.`,
    );
  }
  const tars = entries.filter((name) => name.endsWith('.tar') && !name.startsWith('.')).sort(byteOrder);
  if (tars.length === 0) return scanImageFolder(root, heedSignal);
  return scanTars(
    tars.map((name) => join(root, name)),
    heedSignal,
  );
}
