// Builds the native addon with cmake into <cache>/addons/<key>/tessera_torch.node.
//
// The key names everything that the binary depends on: libtorch's version and path, Node's ABI, the platform and the
// sources. The sources are copied into the build folder and compiled there: the snapshot is what was hashed, even when a
// file is edited meanwhile, and an unchanged file keeps its time, so that a rebuild compiles only what changed. A build
// folder carries a file `idle` while no build runs in it; one without it was interrupted and is thrown away.

import { createHash, randomUUID } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { hashFiles, nativeFolder, readFolder } from './cache.mjs';
import { findProgram, lastLines, runCommand } from './run-command.mjs';
import { SetupFailure } from './setup-failure.mjs';

export const ADDON_NAME = 'tessera_torch.node';
/** Version of Node-API that the addon is compiled for; Node 20.9 has it. */
const NAPI_VERSION = 9;
const JOBS_VARIABLE = 'TESSERA_BUILD_JOBS';
/** Memory that one compiler process wants for a file that includes ATen, in bytes. */
const COMPILER_MEMORY = 2 * 2 ** 30;
/** Addons kept, newest first: switching between two branches or libtorchs should not compile each time. */
const KEPT_ADDONS = 8;

/**
 * @param {{version: string, path: string, cuda: boolean}} libtorch
 * @param {string} nativeHash
 * @returns {string}
 */
export function addonKey(libtorch, nativeHash) {
  const abi = [process.platform, process.arch, process.versions.modules, NAPI_VERSION];
  const parts = [libtorch.version, libtorch.path, libtorch.cuda, ...abi, nativeHash];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 20);
}

/**
 * @param {string} cache
 * @param {string} key
 */
export function addonPath(cache, key) {
  return join(cache, 'addons', key, ADDON_NAME);
}

/**
 * Throws one message that names all that is missing for a build.
 * @param {NodeJS.ProcessEnv} env
 * @returns {{cmake: string, generator: string}}
 */
export function checkBuildTools(env) {
  const compilers = env.CXX ? [env.CXX.split(' ')[0]] : ['c++', 'g++', 'clang++'];
  const missing = [];
  if (!compilers.some((name) => findProgram(name, env))) missing.push(`a C++20 compiler (${compilers.join(', ')})`);
  const cmake = findProgram('cmake', env);
  if (cmake === undefined) missing.push('cmake');
  const ninja = findProgram('ninja', env);
  if (ninja === undefined && !findProgram('make', env)) missing.push('make or ninja');
  if (missing.length > 0) {
    throw new SetupFailure(
      'BUILD_TOOLS_MISSING',
      `Building the native addon needs ${missing.join(' and ')}, not found on PATH. Install what is missing (Debian, Ubuntu: "apt-get install g++ cmake make"; macOS: "xcode-select --install" and "brew install cmake") and run the set-up again.`,
    );
  }
  return { cmake, generator: ninja === undefined ? 'Unix Makefiles' : 'Ninja' };
}

/**
 * @param {string} cache
 * @param {{version: string, path: string, cuda: boolean}} libtorch
 * @param {NodeJS.ProcessEnv} env
 * @param {{sources?: string, progress?: (text: string) => void}} [options]
 * @returns {Promise<{addon: string, key: string, nativeHash: string, built: boolean, notes: string[]}>}
 *   notes: what the addon was built without, and why
 */
export async function buildAddon(cache, libtorch, env, options = {}) {
  const { sources = nativeFolder, progress = () => {} } = options;
  const files = readFolder(sources);
  const nativeHash = hashFiles(files);
  const key = addonKey(libtorch, nativeHash);
  const addon = addonPath(cache, key);
  if (existsSync(addon)) return { addon, key, nativeHash, built: false, notes: [] };

  const tools = checkBuildTools(env);
  const folder = claimBuildFolder(join(cache, 'build'), `${libtorch.path}\0${tools.generator}\0${env.CXX ?? ''}`);
  const copy = join(folder, 'sources');
  syncSources(copy, files);
  const fail = (what, output) => {
    release(folder);
    const text = output.replaceAll(copy, sources);
    writeFileSync(join(cache, 'build', 'failed.log'), text);
    return new SetupFailure(
      'BUILD_FAILED',
      `${what} failed; the whole output is in ${join(cache, 'build', 'failed.log')}:\n${lastLines(errorsOf(text))}`,
    );
  };

  const binary = join(folder, 'binary');
  const made = join(binary, ADDON_NAME);
  const notes = new Set();
  /** Returns what failed and its output; undefined when all went well. */
  const attempt = async (nccl) => {
    const settings = [
      `-DLIBTORCH=${libtorch.path}`,
      `-DNODE_API_HEADERS=${nodeApiHeaders()}`,
      `-DNAPI_VERSION=${NAPI_VERSION}`,
      `-DTESSERA_CUDA=${libtorch.cuda ? 'ON' : 'OFF'}`,
      `-DTESSERA_NCCL=${nccl ? 'ON' : 'OFF'}`,
      '-DCMAKE_BUILD_TYPE=Release',
    ];
    const configure = ['-S', copy, '-B', binary, '-G', tools.generator, ...settings];
    progress('configuring the native addon');
    const configured = await runCommand(tools.cmake, configure, { env });
    if (configured.code !== 0) return { what: 'Configuring the native addon with cmake', output: configured.output };
    // The second try does without NCCL, and why has been said.
    const omitted = nccl ? /^-- (Without .*)$/gm : /^-- (Without (?!NCCL).*)$/gm;
    for (const [, note] of configured.output.matchAll(omitted)) notes.add(note);

    progress('compiling the native addon');
    const compile = ['--build', binary, '--parallel', String(jobs(env))];
    const compiled = await runCommand(tools.cmake, compile, { env });
    if (compiled.code !== 0) return { what: 'Compiling the native addon', output: compiled.output };

    const load = ['-e', 'process.dlopen({ exports: {} }, process.argv[1])', made];
    const loaded = await runCommand(process.execPath, load, { env });
    if (loaded.code === 0) return undefined;
    return { what: `The native addon was built, but loading it with ${libtorch.path}`, output: loaded.output };
  };
  let failed = await attempt(true);
  // c10d's header for NCCL includes those of half of CUDA: the part most likely to fail, and one process does without it.
  if (failed !== undefined && libtorch.cuda && isOfNccl(failed.output)) {
    notes.add(`Without NCCL, which does not compile:\n${lastLines(errorsOf(failed.output))}`);
    failed = await attempt(false);
  }
  if (failed !== undefined) throw fail(failed.what, failed.output);

  const temporary = join(cache, 'addons', `${key}.tmp-${process.pid}`);
  mkdirSync(temporary, { recursive: true });
  copyFileSync(made, join(temporary, ADDON_NAME));
  rmSync(dirname(addon), { recursive: true, force: true });
  renameSync(temporary, dirname(addon));
  release(folder);
  removeOldAddons(join(cache, 'addons'), key);
  return { addon, key, nativeHash, built: true, notes: [...notes] };
}

/** Compilers side by side: TESSERA_BUILD_JOBS, or as many as processors and memory allow. */
export function jobs(env) {
  const asked = Number(env[JOBS_VARIABLE]);
  if (Number.isInteger(asked) && asked > 0) return asked;
  return Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / COMPILER_MEMORY)));
}

function nodeApiHeaders() {
  try {
    return createRequire(import.meta.url)('node-api-headers').include_dir;
  } catch (cause) {
    throw new SetupFailure('HEADERS_MISSING', 'The npm package node-api-headers is not installed: run "npm ci".', {
      cause,
    });
  }
}

/** An idle build folder of the same settings, or a new one. A new one has a new name, because the children of a killed
 * set-up may still be writing into the old. */
function claimBuildFolder(root, settings) {
  const prefix = `${createHash('sha256').update(settings).digest('hex').slice(0, 12)}-`;
  mkdirSync(root, { recursive: true });
  let claimed;
  for (const name of readdirSync(root)) {
    const folder = join(root, name);
    if (!statSync(folder).isDirectory()) continue;
    const idle = existsSync(join(folder, 'idle'));
    if (idle && name.startsWith(prefix) && claimed === undefined) claimed = folder;
    else if (!idle || name.startsWith(prefix)) rmSync(folder, { recursive: true, force: true });
  }
  if (claimed === undefined) {
    claimed = join(root, `${prefix}${randomUUID().slice(0, 8)}`);
    mkdirSync(claimed);
  } else {
    rmSync(join(claimed, 'idle'));
  }
  return claimed;
}

function release(folder) {
  writeFileSync(join(folder, 'idle'), '');
}

/** Makes `folder` equal to `files`, touching only what differs. */
function syncSources(folder, files) {
  mkdirSync(folder, { recursive: true });
  const wanted = new Map(files.map(({ path, bytes }) => [path, bytes]));
  for (const { path, bytes } of readFolder(folder)) {
    if (!wanted.has(path)) rmSync(join(folder, path));
    else if (bytes.equals(wanted.get(path))) wanted.delete(path);
  }
  for (const [path, bytes] of wanted) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
}

/** An error of that part: in what is said, or in the target that ninja or make gave up. */
function isOfNccl(output) {
  return /nccl/i.test(errorsOf(output)) || /^(FAILED:|make.*\*\*\*).*nccl/im.test(output);
}

/** The part of a build's output that matters: from the first error on, where one is marked. */
function errorsOf(output) {
  const lines = output.split('\n');
  const first = lines.findIndex((line) => /\berror\b|CMake Error|Error:/i.test(line));
  return first === -1 ? output : lines.slice(first, first + 12).join('\n');
}

function removeOldAddons(folder, current) {
  const others = readdirSync(folder).filter((name) => name !== current);
  const byAge = others.sort((a, b) => statSync(join(folder, b)).mtimeMs - statSync(join(folder, a)).mtimeMs);
  for (const name of byAge.slice(KEPT_ADDONS - 1)) rmSync(join(folder, name), { recursive: true, force: true });
}
