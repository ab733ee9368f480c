/**
 * The 1,000 classes of ImageNet (ILSVRC 2012) with their standard names: folder names are WordNet ids, `n` and a noun's
 * offset in WordNet 3.0, and a class is called by that synset's words, separated by commas: `tench, Tinca tinca`.
 * Labels of all published models are places in the sorted list of ids.
 *
 * The names in `data/imagenet-classes.txt` are read out of WordNet 3.0 (Princeton University, see NOTICE).
 */
import { readFileSync } from 'node:fs';

/** What a command takes in place of a file of class names. */
export const IMAGENET = 'imagenet';

/** Where the names are, a class a line: id and words, sorted by id. */
export const imagenetClassFile = new URL('../../data/imagenet-classes.txt', import.meta.url);

let loaded: ReadonlyMap<string, string> | undefined;

/** Class names by WordNet id, in the order of labels. */
export function imagenetClasses(): ReadonlyMap<string, string> {
  loaded ??= new Map(
    readFileSync(imagenetClassFile, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => [line.slice(0, 9), line.slice(10)]),
  );
  return loaded;
}

/** Names by label of a published generator, none of whose files has any: 1,000 classes are taken for ImageNet's. */
export function classNamesOf(numClasses: number): string[] | undefined {
  return numClasses === imagenetClasses().size ? [...imagenetClasses().values()] : undefined;
}

/** Standard names of these folders; undefined unless all of them are ids of ImageNet classes. */
export function imagenetNames(folders: readonly string[]): string[] | undefined {
  if (folders.length === 0 || !folders.every((name) => /^n\d{8}$/.test(name))) return undefined;
  const names = folders.map((id) => imagenetClasses().get(id));
  return names.every((name) => name !== undefined) ? names : undefined;
}
