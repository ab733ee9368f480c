// Where the set-up keeps what it made, and how the runtime finds it again.
//
//   <cache>/current.json          which addon and which libtorch the last set-up made; written last, atomically
//   <cache>/current-<hash>.json   the same by native sources: checkouts that share a cache do not displace one another
//   <cache>/addons/<key>/         the built addon
//   <cache>/libtorch-*/           an unpacked libtorch (only when the set-up had to fetch one)
//   <cache>/downloads/, build/    work in progress; may be deleted at any time
//
// Everything is made under a temporary name and renamed when whole, so that what carries its final name is complete.
// The set-up and the runtime both import this file: the paths and the hash of the native sources are written once.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the package @tessera/torch. */
export const packageFolder = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** The C++ sources of the addon. */
export const nativeFolder = join(packageFolder, 'native');

/**
 * The checkout's root, or undefined in an installed package (where a workspace above belongs to somebody else).
 * @param {string} [from]
 * @returns {string | undefined}
 */
export function workspaceRoot(from = packageFolder) {
  if (from.split(sep).includes('node_modules')) return undefined;
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    try {
      if (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).workspaces !== undefined) return folder;
    } catch {
      // no package.json here: go on upwards
    }
    if (dirname(folder) === folder) return undefined;
  }
}

/**
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [from] folder of the package
 * @returns {string} absolute path of the cache folder; it need not exist
 */
export function cacheFolder(env = process.env, from = packageFolder) {
  if (env.TESSERA_CACHE) return resolve(env.TESSERA_CACHE);
  const root = workspaceRoot(from);
  if (root !== undefined) return join(root, '.cache', 'tessera');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tessera');
}

/**
 * All files of a folder with their contents, in a fixed order; the paths are relative with '/'.
 * @param {string} folder
 * @returns {{path: string, bytes: Buffer}[]}
 */
export function readFolder(folder) {
  const files = [];
  const walk = (relative) => {
    for (const entry of readdirSync(join(folder, relative), { withFileTypes: true })) {
      const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile()) files.push({ path, bytes: readFileSync(join(folder, path)) });
    }
  };
  walk('');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * SHA-256 over names, lengths and contents.
 * @param {{path: string, bytes: Buffer}[]} files
 * @returns {string} hexadecimal
 */
export function hashFiles(files) {
  const hash = createHash('sha256');
  for (const { path, bytes } of files) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  return hash.digest('hex');
}

/**
 * @param {string} [folder]
 * @returns {string | undefined} hash of the native sources, undefined where there are none
 */
export function hashNativeSources(folder = nativeFolder) {
  try {
    return hashFiles(readFolder(folder));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * @param {string} cache
 * @param {string} [nativeHash] prefers what was built from these sources
 * @returns {import('./cache.mjs').Current | undefined} undefined when missing, damaged or of another form
 */
export function readCurrent(cache, nativeHash) {
  const fitting = nativeHash === undefined ? undefined : readRecord(join(cache, recordName(nativeHash)));
  return fitting ?? readRecord(join(cache, 'current.json'));
}

function recordName(nativeHash) {
  return `current-${nativeHash.slice(0, 16)}.json`;
}

function readRecord(path) {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8'));
    const texts = [value.addon, value.nativeHash, value.key, value.libtorch?.path, value.libtorch?.version];
    return texts.every((text) => typeof text === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} cache
 * @param {import('./cache.mjs').Current} current
 */
export function writeCurrent(cache, current) {
  mkdirSync(cache, { recursive: true });
  const text = `${JSON.stringify(current, null, 2)}\n`;
  writeAtomically(join(cache, recordName(current.nativeHash)), text);
  writeAtomically(join(cache, 'current.json'), text);
}

/**
 * Writes a file so that a reader sees the old content or the new one, never a part.
 * @param {string} path
 * @param {string} text
 */
export function writeAtomically(path, text) {
  const temporary = `${path}.tmp-${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

/**
 * Removes what an interrupted set-up left under temporary names. Only for the holder of the lock.
 * @param {string} folder
 */
export function removeTemporaries(folder) {
  let names;
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  for (const name of names) {
    if (name.includes('.tmp-')) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
