/**
 * Folders and files that are whole or absent: written beside their place, then moved there. What was there before goes
 * only once the new one stands.
 */

import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, readdirSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { DataError } from './data-error.ts';

/** Of a folder on its way out, which a kill may leave. */
const ASIDE = '.replaced-';

/** Where to write what is to stand at `path`; what a kill left there is removed. */
export function temporaryFor(path: string): string {
  // Resolved: with a slash at its end it would lie within the folder that it replaces.
  const place = resolve(path);
  const temporary = `${place}.writing`;
  rmSync(temporary, { recursive: true, force: true });
  if (existsSync(place)) removeReplaced(place);
  return temporary;
}

/** Folders that a new one has replaced; where there is no new one, the old one may be all that is left. */
function removeReplaced(place: string): void {
  const old = readdirSync(dirname(place)).filter((name) => name.startsWith(`${basename(place)}${ASIDE}`));
  for (const name of old) rmSync(join(dirname(place), name), { recursive: true, force: true });
}

/** Moves what is finished to its place. */
export function moveIntoPlace(temporary: string, path: string): void {
  const place = resolve(path);
  // A file replaces a file in one step, a folder none that has files.
  if (!existsSync(place) || !statSync(place).isDirectory()) {
    renameSync(temporary, place);
    return;
  }
  const aside = `${place}${ASIDE}${randomUUID()}`;
  renameSync(place, aside);
  try {
    renameSync(temporary, place);
  } catch (error) {
    renameSync(aside, place);
    throw error;
  }
  rmSync(aside, { recursive: true, force: true });
}

/** Where to write what several processes, of several machines too, may write at once: a name of its own each time. */
export function temporaryOfMany(path: string): string {
  return `${path}.${randomUUID()}.writing`;
}

/** Makes a file with its content at once, or says that there is one: of many processes one is first. */
export function createWhole(path: string, content: string): boolean {
  const temporary = temporaryOfMany(path);
  writeFileSync(temporary, content);
  const isThere = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EEXIST';
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (isThere(error)) return false;
    // File systems without hard links.
    try {
      writeFileSync(path, content, { flag: 'wx' });
      return true;
    } catch (second) {
      if (isThere(second)) return false;
      throw second;
    }
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Replaces a file by a whole one; readers see the old content or the new. For what a crash must not lose: durable-file.ts. */
export function replaceWhole(path: string, content: string | Uint8Array): void {
  const temporary = temporaryOfMany(path);
  try {
    writeFileSync(temporary, content);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Refuses the place of a file where a folder is. */
export function requireFileName(path: string): void {
  if (!existsSync(path) || !statSync(path).isDirectory()) return;
  throw new DataError('OUT_TAKEN', `${path} is a folder: expected the name of the file to write.`);
}

/** Refuses the place of a folder where a file is. */
export function requireFolderName(path: string): void {
  if (!existsSync(path) || statSync(path).isDirectory()) return;
  throw new DataError('OUT_TAKEN', `${path} is a file: expected the name of a folder.`);
}

/** Refuses the place of a file where anything is. */
export function requireFree(path: string): void {
  requireFileName(path);
  if (!existsSync(path)) return;
  throw new DataError('OUT_TAKEN', `${path} is there already: choose another name, or remove it.`);
}

/**
 * Refuses to replace what is no folder of its kind, and folders that hold what is read.
 *
 * @param marker a file that folders of this kind have
 * @param sources what is read meanwhile
 */
export function requireReplaceable(path: string, marker: string, sources: readonly (string | undefined)[] = []): void {
  const read = sources.find((source) => source !== undefined && holds(path, source));
  if (read !== undefined) {
    throw new DataError('OUT_TAKEN', `${path} holds ${read}, which is read: choose another folder to write.`);
  }
  if (!existsSync(path)) return;
  if (statSync(path).isDirectory() && (existsSync(join(path, marker)) || readdirSync(path).length === 0)) return;
  throw new DataError(
    'OUT_TAKEN',
    `${path} is there and has no ${marker}, so it is something else: choose another folder, or remove it.`,
  );
}

function holds(folder: string, path: string): boolean {
  const way = relative(real(folder), real(path));
  return way === '' || !/^\.\.($|[/\\])/.test(way);
}

/** Through links; of what is not there, the name. */
function real(path: string): string {
  return existsSync(path) ? realpathSync(path) : resolve(path);
}
