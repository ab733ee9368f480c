// Finds a libtorch, in this order, and says which way it took:
//   1. LIBTORCH, a folder with include/ and lib/
//   2. an installed Python torch of a supported version: the way to CUDA
//   3. pip download of the CPU wheel, unpacked into the cache
//   4. the pinned archive of the PyTorch project's download site, unpacked into the cache
//   5. otherwise one message that names these ways and why each failed
// TESSERA_LIBTORCH_WAYS (for example "3,4") leaves ways out.

import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  downloadPinned,
  downloadWithPip,
  FETCHED_VERSION,
  fetchedFolder,
  fetchedSource,
  findDownloaded,
  NOTHING_KEPT,
  unpackLibtorch,
} from './libtorch-archive.mjs';
import { inspectLibtorch, SUPPORTED } from './libtorch-folder.mjs';
import { findProgram, runCommand } from './run-command.mjs';
import { SetupFailure } from './setup-failure.mjs';

/** Finds the package without importing it: importing takes seconds. */
const FIND_TORCH =
  'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")';

/**
 * @param {string} cache
 * @param {NodeJS.ProcessEnv} env
 * @param {(text: string) => void} [progress]
 * @returns {Promise<import('./cache.mjs').Libtorch & {fetched: boolean}>}
 */
export async function locateLibtorch(cache, env, progress = () => {}) {
  const ways = new Set((env.TESSERA_LIBTORCH_WAYS || '1,2,3,4').split(',').map((way) => way.trim()));
  const reasons = [];
  if (ways.has('1') && env.LIBTORCH) return fromVariable(env.LIBTORCH);
  reasons.push('1. set LIBTORCH to a folder with include/ and lib/ (not set)');

  if (ways.has('2')) {
    const found = await fromPython(env);
    if (!('problem' in found)) return found;
    reasons.push(`2. install torch for python3, ${SUPPORTED} (${found.problem})`);
  }

  const folder = fetchedFolder(cache);
  if (ways.has('3') || ways.has('4')) {
    const source = fetchedSource(folder);
    if (source !== undefined) return { ...described(folder, source), fetched: false };
    rmSync(folder, { recursive: true, force: true });
  }
  const kept = join(cache, 'downloads');
  const downloads = [
    { way: 'kept', name: 'unpacked from the archive in the cache', get: () => findDownloaded(cache) },
    { way: '3', name: 'downloaded with pip', get: () => downloadWithPip(cache, env) },
    { way: '4', name: 'downloaded from download.pytorch.org', get: () => downloadPinned(cache, progress) },
  ];
  for (const { way, name, get } of downloads) {
    if (way !== 'kept' && !ways.has(way)) continue;
    if (way !== 'kept') progress(`torch ${FETCHED_VERSION} is being ${name} (about 190 MB)`);
    const problem = await fetchAndUnpack(get, folder, name, progress);
    if (problem === undefined) {
      rmSync(kept, { recursive: true, force: true });
      return { ...described(folder, name), fetched: true };
    }
    if (way === 'kept') {
      if (problem !== NOTHING_KEPT) reasons.push(`(${problem}; it was removed)`);
      continue;
    }
    reasons.push(
      way === '3'
        ? `3. have python3 with pip and its package index within reach (${problem})`
        : `4. have download.pytorch.org within reach, or put its archive into ${kept} (${problem})`,
    );
  }
  throw new SetupFailure(
    'LIBTORCH_MISSING',
    `No libtorch was found or could be fetched. Any one of these is enough; then run the set-up again:\n${reasons.map((reason) => `  ${reason}`).join('\n')}`,
  );
}

async function fetchAndUnpack(get, folder, source, progress) {
  try {
    const got = await get();
    if ('problem' in got) return got.problem;
    progress('unpacking libtorch');
    await unpackLibtorch(got.archive, folder, source);
    return undefined;
  } catch (error) {
    if (error instanceof SetupFailure) return error.message.replace(/\.$/, '');
    throw error;
  }
}

function fromVariable(value) {
  const path = resolve(value);
  const found = inspectLibtorch(path);
  if ('problem' in found) {
    throw new SetupFailure(
      'LIBTORCH_UNUSABLE',
      `LIBTORCH must name a folder with include/ and lib/ of torch ${SUPPORTED}: ${found.problem}. Correct LIBTORCH, or unset it to have libtorch found or fetched.`,
    );
  }
  return { path, ...found, source: 'from LIBTORCH', fetched: false };
}

async function fromPython(env) {
  const python = findProgram('python3', env);
  if (python === undefined) return { problem: 'there is no python3 on PATH' };
  const { code, stdout } = await runCommand(python, ['-c', FIND_TORCH], { env, timeoutMs: 60_000 });
  const path = stdout.trim();
  if (code !== 0 || path === '') return { problem: 'not installed' };
  const found = inspectLibtorch(path);
  return 'problem' in found ? found : { path, ...found, source: "from Python's torch", fetched: false };
}

function described(path, source) {
  const found = inspectLibtorch(path);
  if ('problem' in found) {
    rmSync(path, { recursive: true, force: true });
    throw new SetupFailure(
      'LIBTORCH_DAMAGED',
      `The fetched libtorch was damaged and has been removed: ${found.problem}. Run the set-up again.`,
    );
  }
  return { path, ...found, source };
}
