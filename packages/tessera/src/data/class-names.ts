/**
 * Names for people in place of folder names such as `n01440764`. A file has one class a line (or is a JSON list of such
 * texts): either `FOLDER NAME…`, as in ImageNet's own LOC_synset_mapping.txt, or the folders' names, or other names alone.
 *
 * Labels are places in the sorted list of folder names, in every one of the reference systems. A file with folder names
 * must therefore be sorted by them; it may name more classes than a split has images of, so that train and validation
 * get the same labels. A file of names alone must have exactly as many as there are folders. In place of a file,
 * `imagenet` stands for that data set's own 1,000.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DataError } from './data-error.ts';
import { byteOrder, type ImageFolder } from './image-folder.ts';
import { IMAGENET, imagenetClassFile } from './imagenet-classes.ts';

/** The same images, labelled by the file's classes and named by them. */
export function nameClasses(folder: ImageFolder, path: string): ImageFolder {
  const lines = readLines(path === IMAGENET ? fileURLToPath(imagenetClassFile) : path);
  // Folders whose names are people's already, spaces and all.
  const whole = new Set(lines);
  if (folder.classes.every((name) => whole.has(name))) return byFolderName(folder, path, lines, lines);
  const words = lines.map((line) => /^(\S+)\s+(\S.*)$/.exec(line));
  const ids = words.map((match, i) => match?.[1] ?? lines[i]!);
  const known = new Map(ids.map((id, label) => [id, label]));
  const missing = folder.classes.filter((name) => !known.has(name));
  if (missing.length === 0)
    return byFolderName(
      folder,
      path,
      ids,
      words.map((match, i) => match?.[2] ?? lines[i]!),
    );
  if (missing.length < folder.classes.length) {
    throw new DataError(
      'CLASS_NAMES',
      `${path} names some of the ${folder.classes.length} classes but not ${some(missing)}: add them, in sorted order.`,
    );
  }
  if (lines.length !== folder.classes.length) {
    throw new DataError(
      'CLASS_NAMES',
      `${path}: expected ${folder.classes.length} names, one a class in sorted order (${some(folder.classes)}), ` +
        `or lines of FOLDER and name, got ${lines.length}.`,
    );
  }
  return { ...folder, classes: lines };
}

function byFolderName(folder: ImageFolder, path: string, ids: string[], names: string[]): ImageFolder {
  const wrong = ids.findIndex((id, i) => i > 0 && byteOrder(ids[i - 1]!, id) >= 0);
  if (wrong > 0) {
    throw new DataError(
      'CLASS_NAMES',
      `${path}: expected folder names in sorted order, each once, got ${ids[wrong]} after ${ids[wrong - 1]}; labels ` +
        'are places in that order, and models trained elsewhere count on it.',
    );
  }
  const labels = folder.classes.map((name) => ids.indexOf(name));
  return { ...folder, classes: names, items: folder.items.map((item) => ({ ...item, label: labels[item.label]! })) };
}

function readLines(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new DataError('CLASS_NAMES', `${path} cannot be read: expected a file of class names.`, { cause });
  }
  const lines = text.trimStart().startsWith('[') ? jsonList(text, path) : text.split(/\r?\n/);
  const names = lines.map((line) => line.trim());
  while (names.at(-1) === '') names.pop();
  const empty = names.indexOf('');
  if (names.length > 0 && empty < 0) return names;
  throw new DataError('CLASS_NAMES', `${path}: expected a class a line, got an empty line ${Math.max(0, empty) + 1}.`);
}

function jsonList(text: string, path: string): string[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return value;
  } catch {
    // Said below.
  }
  throw new DataError('CLASS_NAMES', `${path}: expected a JSON list of texts.`);
}

function some(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}
