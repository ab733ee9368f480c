/**
 * Names of what `tessera sample` and `tessera edit` write into a folder: a picture a file, and a few files that show many of
 * them. Who reads such a folder as pictures leaves those out.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPngText } from '@tessera/formats';
import { PipelineError } from './events.ts';

/** All in one picture, and step by step. */
const SUMMARIES = new Set(['grid.png', 'reveal.webp', 'reveal.gif']);
/** `00012-food-s0.png`, `00012-s0.png`. */
const PICTURE = /^\d{5,}-(.*-)?s\d+\.png$/;

/** @param what a class's name; undefined where there is none */
export function drawnName(index: number, what: string | undefined, seed: number): string {
  const plain = (what ?? '').replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
  return `${[String(index).padStart(5, '0'), ...(what === undefined ? [] : [plain.slice(0, 60)]), `s${seed}`].join('-')}.png`;
}

/** Files of a folder; the summaries are left out where all others have names of drawn pictures. */
export function withoutSummaries<T extends { relativePath: string }>(items: readonly T[]): readonly T[] {
  const others = items.filter(({ relativePath }) => !SUMMARIES.has(relativePath));
  return others.length > 0 && others.every(({ relativePath }) => PICTURE.test(relativePath)) ? others : items;
}

/**
 * Refuses a folder with drawn pictures of other names than these, which would count as pictures of this run, or with
 * pictures of these names that say that they were drawn otherwise.
 *
 * @param first the first picture of this run, and what will be said in it
 */
export function refuseOtherPictures(
  folder: string,
  names: ReadonlySet<string>,
  first: { name: string; texts: Readonly<Record<string, string>> },
): void {
  if (!existsSync(folder)) return;
  const advice = 'take another --out, or remove them';
  const other = readdirSync(folder).filter((name) => PICTURE.test(name) && !names.has(name));
  if (other.length > 0) {
    throw new PipelineError(
      'OPTIONS',
      `${folder} holds ${other.length} pictures that this run does not draw, such as ${other.sort()[0]}: ${advice}.`,
    );
  }
  const path = join(folder, first.name);
  if (!existsSync(path)) return;
  const said = saidBy(path);
  const differing = Object.keys(first.texts).find((key) => said !== undefined && said[key] !== first.texts[key]);
  if (differing === undefined) return;
  throw new PipelineError('OPTIONS', `${folder} holds pictures of another run (${differing} differs): ${advice}.`);
}

/** Undefined of what is no whole picture, which a kill may have left. */
function saidBy(path: string): Readonly<Record<string, string>> | undefined {
  try {
    return readPngText(readFileSync(path));
  } catch {
    return undefined;
  }
}
