// Compiles the CUDA sources of the addon without linking them: for machines that have the CUDA headers (a toolkit, or
// NVIDIA's Python packages beside torch) but no GPU and no CUDA build of libtorch. Any libtorch will do, since the wheels
// for the CPU carry the headers of c10/cuda and ATen/cuda too.
//
//   node packages/torch/setup/check-cuda-compile.mjs
//
// Prints a line a source: compiled, or left out with the header that is missing. Exit code 1 when one does not compile.

import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder, nativeFolder, readCurrent } from './cache.mjs';
import { findProgram, runCommand } from './run-command.mjs';

/** Source, the definitions it is compiled with, and the headers it cannot do without. */
const SOURCES = [
  ['cuda.cpp', ['TESSERA_CUDA'], ['cuda_runtime_api.h']],
  ['noise_cuda.cpp', ['TESSERA_CUDA', 'TESSERA_NOISE_KERNEL'], ['cuda_runtime_api.h']],
  ['c10d_nccl.cpp', ['TESSERA_CUDA', 'TESSERA_NCCL'], ['nccl.h', 'cublas_v2.h', 'cusparse.h', 'cusolverDn.h']],
];

const { LIBTORCH } = process.env;
const libtorch = LIBTORCH ?? readCurrent(cacheFolder())?.libtorch.path;
if (libtorch === undefined) fail('No libtorch: run "npm run setup", or set LIBTORCH.');
const compiler =
  (process.env.CXX ?? '').split(' ')[0] || ['c++', 'g++', 'clang++'].find((name) => findProgram(name, process.env));
if (compiler === undefined) fail('No C++ compiler on PATH.');

const folders = [process.env.CUDA_HOME && join(process.env.CUDA_HOME, 'include'), '/usr/local/cuda/include']
  .concat(process.env.CUDA_INCLUDES?.split(':') ?? [], nvidiaFolders())
  .filter((folder) => folder && existsSync(folder));

let failures = 0;
for (const [source, definitions, headers] of SOURCES) {
  const missing = headers.filter((header) => !folders.some((folder) => existsSync(join(folder, header))));
  if (missing.length > 0) {
    console.log(
      `${source}: left out, ${missing.join(', ')} not found (CUDA_INCLUDES=FOLDER:FOLDER names more folders)`,
    );
    continue;
  }
  const includes = [nativeFolder, createRequire(import.meta.url)('node-api-headers').include_dir].flatMap((path) => [
    '-I',
    path,
  ]);
  const system = [join(libtorch, 'include'), join(libtorch, 'include/torch/csrc/api/include'), ...folders];
  // A wheel for the CPU lacks the header that a CUDA build of libtorch generates; without it nothing changes here.
  const args = [
    '-std=c++20',
    '-fsyntax-only',
    '-DNAPI_VERSION=9',
    '-DC10_CUDA_NO_CMAKE_CONFIGURE_FILE',
    ...definitions.map((name) => `-D${name}=1`),
    ...includes,
  ];
  await report(source, compiler, [
    ...args,
    ...system.flatMap((path) => ['-isystem', path]),
    join(nativeFolder, source),
  ]);
}
await compileKernel();
process.exitCode = failures > 0 ? 1 : 0;

/** nvcc makes real code of the kernel, for all generations of GPUs that it knows. */
async function compileKernel() {
  const toolkit = process.env.CUDA_HOME ?? '/usr/local/cuda';
  const nvcc = findProgram('nvcc', process.env) ?? [join(toolkit, 'bin/nvcc')].find((path) => existsSync(path));
  if (nvcc === undefined) return console.log('noise_kernels.cu: left out, no nvcc');
  const folder = mkdtempSync(join(tmpdir(), 'tessera-cuda-'));
  try {
    const flags = ['-c', '-O2', '-std=c++17', '-fmad=false', '-arch=all-major', '-Xcompiler', '-fPIC'];
    await report('noise_kernels.cu', nvcc, [
      ...flags,
      '-o',
      join(folder, 'kernels.o'),
      join(nativeFolder, 'noise_kernels.cu'),
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function report(source, program, args) {
  const { code, output } = await runCommand(program, args, { env: process.env });
  console.log(code === 0 ? `${source}: compiled` : `${source}: failed\n${output}`);
  if (code !== 0) failures++;
}

/** Folders of headers of NVIDIA's Python packages, which lie beside torch. */
function nvidiaFolders() {
  const root = join(libtorch, '..', 'nvidia');
  return existsSync(root) ? readdirSync(root).map((name) => join(root, name, 'include')) : [];
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
