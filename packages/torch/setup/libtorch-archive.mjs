// Ways 3 and 4 to libtorch: fetch the CPU wheel (by pip, or from the PyTorch project's download site), then unpack only
// lib/ and include/ of it: 478 MB of files. Unpacking needs neither Python nor pip. Each step works under a temporary
// name and renames when whole; a damaged archive is deleted, so that it is fetched again and never met twice.

import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { inspectLibtorch } from './libtorch-folder.mjs';
import { findProgram, lastLines, runCommand } from './run-command.mjs';
import { SetupFailure } from './setup-failure.mjs';
import { extractZip } from './zip-extract.mjs';

/** The release that is fetched where none is found. */
export const FETCHED_VERSION = '2.13.0';

/**
 * Archives with a known hash, by platform. The hash was computed from the wheel of this name as pip fetched it; that the
 * address below serves the same bytes was not tried (it could not be reached then). Were they others, the download
 * would be refused, never used.
 */
const PINNED = {
  'linux-x64': {
    name: 'torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    url: 'https://download.pytorch.org/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    sha256: '6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b',
  },
};

/** What findDownloaded says where no archive was left or put. */
export const NOTHING_KEPT = 'there is none';

const PLATFORM = `${process.platform}-${process.arch}`;
/** A download that brings nothing for this long has failed. */
const STALL_MS = 60_000;
const PIP_LIMIT_MS = 40 * 60_000;
const MANIFEST = 'tessera-libtorch.json';

/** Parts of a wheel's lib/ that the addon never loads: Python's glue, test libraries, multiprocessing helpers. */
const UNUSED_LIBRARIES = /python|test|backend_with_compiler|aoti_custom_ops|shm/;

/**
 * Where an entry of a wheel (torch/…) or of a libtorch zip (libtorch/…) goes; undefined: not needed.
 * @param {string} name
 * @returns {string | undefined}
 */
export function selectLibtorchEntry(name) {
  const path = name.match(/^(?:lib)?torch\/((?:lib|include)\/.+)$/)?.at(1);
  if (path === undefined) return undefined;
  return path.startsWith('lib/') && UNUSED_LIBRARIES.test(path) ? undefined : path;
}

/** @param {string} cache */
export function fetchedFolder(cache) {
  return join(cache, `libtorch-${FETCHED_VERSION}-cpu-${PLATFORM}`);
}

/**
 * How a folder was fetched, if it was unpacked whole and its libraries still have the size they had then.
 * @param {string} folder
 * @returns {string | undefined}
 */
export function fetchedSource(folder) {
  try {
    const { libraries, source } = JSON.parse(readFileSync(join(folder, MANIFEST), 'utf8'));
    const names = Object.keys(libraries);
    const whole =
      names.length > 0 && names.every((name) => statSync(join(folder, 'lib', name)).size === libraries[name]);
    return whole ? source : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Unpacks an archive into `folder`, which is there afterwards whole or not at all. A damaged archive is deleted.
 * @param {string} archive
 * @param {string} folder
 * @param {string} source how the archive was fetched, in words
 */
export async function unpackLibtorch(archive, folder, source) {
  const temporary = `${folder}.tmp-${process.pid}`;
  try {
    rmSync(temporary, { recursive: true, force: true });
    await extractZip(archive, temporary, selectLibtorchEntry);
    const found = inspectLibtorch(temporary);
    if ('problem' in found) {
      throw new SetupFailure(
        'ARCHIVE_NOT_LIBTORCH',
        `The archive ${archive} holds no usable libtorch: ${found.problem.replaceAll(temporary, 'it')}.`,
      );
    }
    if (found.cuda) {
      throw new SetupFailure(
        'ARCHIVE_IS_CUDA',
        `The archive ${archive} is a CUDA build, which cannot work without the NVIDIA packages beside it.`,
      );
    }
    const libraries = readdirSync(join(temporary, 'lib')).map((name) => [
      name,
      statSync(join(temporary, 'lib', name)).size,
    ]);
    writeFileSync(
      join(temporary, MANIFEST),
      `${JSON.stringify({ source, libraries: Object.fromEntries(libraries) }, null, 2)}\n`,
    );
    rmSync(folder, { recursive: true, force: true });
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (error instanceof SetupFailure) rmSync(archive, { force: true });
    throw error;
  }
}

/**
 * Way 3. pip's own settings decide where from; it checks what it fetches against its index.
 * @param {string} cache
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{archive: string} | {problem: string}>}
 */
export async function downloadWithPip(cache, env) {
  const python = findProgram('python3', env);
  if (python === undefined) return { problem: 'there is no python3 on PATH' };
  const folder = join(cache, 'downloads', `pip.tmp-${process.pid}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    let problem = '';
    for (const version of pipVersions()) {
      const options = ['--no-deps', '--only-binary=:all:', '--no-input', '--progress-bar', 'off', '--retries', '2'];
      const args = ['-m', 'pip', 'download', ...options, '--dest', folder, `torch==${version}`];
      const { code, output } = await runCommand(python, args, { env, timeoutMs: PIP_LIMIT_MS });
      const wheel = code === 0 ? readdirSync(folder).find((name) => name.endsWith('.whl')) : undefined;
      if (wheel !== undefined) {
        const archive = join(cache, 'downloads', wheel);
        renameSync(join(folder, wheel), archive);
        await checkKnownHash(archive, wheel);
        return { archive };
      }
      problem = `pip download torch==${version} failed (${lastLines(output, 1) || `exit code ${code}`})`;
    }
    return { problem };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The public index has a CUDA build under the plain version for Linux on x86-64: 900 MB that cannot work without their
 * NVIDIA packages. There the CPU build is asked for by its local version; elsewhere the plain one is a CPU build.
 */
function pipVersions() {
  return PLATFORM === 'linux-x64' ? [`${FETCHED_VERSION}+cpu`] : [`${FETCHED_VERSION}+cpu`, FETCHED_VERSION];
}

/**
 * The archive that already lies in <cache>/downloads (left by an interrupted run, or put there by hand on a machine
 * without network), if its hash is the pinned one; deleted if it is not.
 * @param {string} cache
 * @returns {Promise<{archive: string} | {problem: string}>}
 */
export async function findDownloaded(cache) {
  const pinned = PINNED[PLATFORM];
  const archive = join(cache, 'downloads', pinned?.name ?? 'none');
  if (!existsSync(archive)) return { problem: NOTHING_KEPT };
  await checkHash(archive, pinned.sha256);
  return { archive };
}

/**
 * Way 4.
 * @param {string} cache
 * @param {(text: string) => void} progress
 * @returns {Promise<{archive: string} | {problem: string}>}
 */
export async function downloadPinned(cache, progress) {
  const pinned = PINNED[PLATFORM];
  if (pinned === undefined) return { problem: `no archive is known for ${PLATFORM}` };
  const archive = join(cache, 'downloads', pinned.name);
  mkdirSync(join(cache, 'downloads'), { recursive: true });
  const temporary = `${archive}.tmp-${process.pid}`;
  try {
    await download(pinned.url, temporary, progress);
    await checkHash(temporary, pinned.sha256);
    renameSync(temporary, archive);
    return { archive };
  } catch (error) {
    if (error instanceof SetupFailure) throw error;
    return { problem: `${pinned.url} cannot be fetched (${error.cause?.message ?? error.message})` };
  } finally {
    rmSync(temporary, { force: true });
  }
}

async function download(url, path, progress) {
  const stalled = new AbortController();
  let timer = setTimeout(() => stalled.abort(new Error('no data for a minute')), STALL_MS);
  const out = openSync(path, 'w');
  try {
    const response = await fetch(url, { signal: stalled.signal });
    if (!response.ok || response.body === null) throw new Error(`HTTP status ${response.status}`);
    const total = Number(response.headers.get('content-length') ?? 0);
    let done = 0;
    for await (const bytes of response.body) {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(new Error('no data for a minute')), STALL_MS);
      for (let at = 0; at < bytes.length; ) at += writeSync(out, bytes, at);
      done += bytes.length;
      progress(`${Math.floor(done / 1e6)} of ${Math.ceil(total / 1e6)} MB`);
    }
    if (total > 0 && done !== total) throw new Error(`ended after ${done} of ${total} bytes`);
  } finally {
    clearTimeout(timer);
    closeSync(out);
  }
}

async function checkKnownHash(archive, name) {
  const known = Object.values(PINNED).find((pinned) => pinned.name === name);
  if (known !== undefined) await checkHash(archive, known.sha256);
}

/** Deletes the archive and throws when its hash is another. */
async function checkHash(archive, expected) {
  const got = await sha256(archive);
  if (got === expected) return;
  rmSync(archive, { force: true });
  throw new SetupFailure(
    'ARCHIVE_CORRUPT',
    `The archive ${archive} is damaged: its SHA-256 is ${got}, expected ${expected}.`,
  );
}

async function sha256(path) {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes);
  return hash.digest('hex');
}
