// The set-up of the engine: find or fetch libtorch, build the addon against it, record both in the cache. What is done
// already is skipped; what was interrupted is repaired; two set-ups at once wait for each other. Both `npm run setup` and
// `tessera setup` call this. Node's built-in modules only.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { addonKey, addonPath, buildAddon, checkBuildTools } from './build-addon.mjs';
import { cacheFolder, hashNativeSources, readCurrent, removeTemporaries, writeCurrent } from './cache.mjs';
import { locateLibtorch } from './locate-libtorch.mjs';
import { withLock } from './lock.mjs';
import { SetupFailure } from './setup-failure.mjs';

/** Errors of the system that a person can do something about. */
const SYSTEM_ERRORS = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EEXIST: 'a file is in the way',
  ENOTDIR: 'a file is in the way',
  EROFS: 'the file system is read-only',
};

/**
 * @param {{log: (line: string) => void, progress?: (text: string) => void, env?: NodeJS.ProcessEnv}} options
 *   log gets one line a step, with its time; progress gets short texts for a terminal's last line
 * @returns {Promise<import('./cache.mjs').Current>}
 */
export async function setupTorch({ log, progress = () => {}, env = process.env }) {
  const cache = cacheFolder(env);
  try {
    return await withLock(
      join(cache, 'setup.lock'),
      () => setUp(cache, log, progress, env),
      (pid) => log(`waiting for another set-up (process ${pid})`),
    );
  } catch (error) {
    if (error instanceof SetupFailure) throw error;
    const reason = SYSTEM_ERRORS[error?.code];
    if (reason === undefined) throw error;
    throw new SetupFailure(
      'CACHE_UNUSABLE',
      `Cannot write ${error.path ?? cache}: ${reason}. The set-up needs about 1 GB there; TESSERA_CACHE names another folder.`,
      { cause: error },
    );
  }
}

async function setUp(cache, log, progress, env) {
  for (const folder of [cache, join(cache, 'downloads'), join(cache, 'addons')]) removeTemporaries(folder);
  if (!isBuilt(cache)) checkBuildTools(env); // before 190 MB are fetched in vain

  let started = Date.now();
  const { fetched, ...libtorch } = await locateLibtorch(cache, env, progress);
  const kind = libtorch.cuda ? 'CUDA' : 'CPU';
  const where = fetched ? libtorch.source : `already there, ${libtorch.source}`;
  log(`libtorch ${libtorch.version} (${kind}): ${where} (${seconds(started)})`);

  started = Date.now();
  const { built, notes, ...addon } = await buildAddon(cache, libtorch, env, { progress });
  const current = { ...addon, libtorch };
  if (JSON.stringify(readCurrent(cache, addon.nativeHash)) !== JSON.stringify(current)) writeCurrent(cache, current);
  log(`native addon: ${built ? 'built' : 'already built'} (${seconds(started)})`);
  for (const note of notes) log(`native addon: ${note}`);
  return current;
}

/** Whether the last set-up's addon still fits the sources: then no compiler is needed. */
function isBuilt(cache) {
  const hash = hashNativeSources();
  const current = readCurrent(cache, hash);
  if (current === undefined || hash === undefined) return false;
  return existsSync(addonPath(cache, addonKey(current.libtorch, hash)));
}

/** @param {number} started milliseconds, from Date.now() */
export function seconds(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`;
}
