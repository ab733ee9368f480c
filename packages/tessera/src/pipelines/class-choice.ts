/**
 * Which classes a generation makes, and how many images of each. Image i belongs to the i-th class, round and round, so
 * image i is the same however many images are asked for.
 */

import { nearest } from '@tessera/schedule';
import { PipelineError } from './events.ts';

/** About how many images are made when nobody says. */
const DEFAULT_IMAGES = 64;

export interface ImagePlan {
  /** Labels of the chosen classes, in the order asked for. */
  chosen: number[];
  /** Class label of each image. */
  labels: number[];
}

/**
 * @param wanted class names, single words of them, or labels, each alone or several separated by commas; empty: all classes
 * @param names class names by label; undefined where a model has none
 */
export function planImages(
  wanted: readonly string[],
  numClasses: number,
  names: readonly string[] | undefined,
  count: { numImages?: number | undefined; perClass?: number | undefined },
): ImagePlan {
  const chosen =
    wanted.length === 0
      ? Array.from({ length: numClasses }, (_, label) => label)
      : [...new Set(splitList(wanted, names).map((one) => resolveClass(one, numClasses, names)))];
  const { numImages, perClass } = count;
  if (numImages !== undefined && perClass !== undefined) {
    throw new PipelineError('OPTIONS', 'Expected a number of images or a number per class, got both.');
  }
  const total = numImages ?? (perClass === undefined ? defaultImages(chosen.length) : perClass * chosen.length);
  return { chosen, labels: Array.from({ length: total }, (_, i) => chosen[i % chosen.length]!) };
}

/** Equally many of each class where that is possible. */
function defaultImages(numClasses: number): number {
  return numClasses > DEFAULT_IMAGES ? DEFAULT_IMAGES : DEFAULT_IMAGES - (DEFAULT_IMAGES % numClasses);
}

/** Class names may hold commas themselves. */
function splitList(wanted: readonly string[], names: readonly string[] | undefined): string[] {
  return wanted.flatMap((one) => (names?.includes(one) ? [one] : one.split(',').map((part) => part.trim())));
}

/**
 * A whole name first, since classes may be called by numbers; then a label; then one of the words of a name that has
 * several, as ImageNet's have: `tench, Tinca tinca`.
 */
function resolveClass(wanted: string, numClasses: number, names: readonly string[] | undefined): number {
  const byName = onlyOne(wanted, names, (name) => name === wanted);
  if (byName !== undefined) return byName;
  const label = /^\d+$/.test(wanted) ? Number(wanted) : Number.NaN;
  if (label < numClasses) return label;
  if (!Number.isNaN(label) || names === undefined) {
    throw new PipelineError('UNKNOWN_CLASS', `Expected a class from 0 to ${numClasses - 1}, got "${wanted}".`);
  }
  const byWord = onlyOne(wanted, names, (name) => wordsOf(name).includes(wanted));
  if (byWord !== undefined) return byWord;
  const near = nearest(wanted, names.flatMap(wordsOf));
  const advice =
    near === undefined
      ? `the classes are ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', …' : ''}`
      : `did you mean "${near}"?`;
  throw new PipelineError('UNKNOWN_CLASS', `There is no class "${wanted}": ${advice}`);
}

function onlyOne(wanted: string, names: readonly string[] | undefined, fits: (name: string) => boolean) {
  const labels = names?.flatMap((name, label) => (fits(name) ? [label] : [])) ?? [];
  if (labels.length < 2) return labels[0];
  const all = labels.map((label) => `${label} (${names![label]})`).join(', ');
  throw new PipelineError('UNKNOWN_CLASS', `"${wanted}" may be one of several classes: give the label, of ${all}.`);
}

function wordsOf(name: string): string[] {
  return name.split(',').map((word) => word.trim());
}
