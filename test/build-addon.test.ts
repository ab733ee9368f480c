/** The build of the addon with real tools, but a libtorch of two empty libraries and a source without ATen: seconds. */

import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildAddon, jobs } from '../packages/torch/setup/build-addon.mjs';
import { nativeFolder } from '../packages/torch/setup/cache.mjs';
import { findProgram } from '../packages/torch/setup/run-command.mjs';

let folder: string;
let cache: string;
let sources: string;
let libtorch: { version: string; path: string; cuda: boolean };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera build '));
  cache = join(folder, 'cache');
  sources = join(folder, 'native');
  libtorch = { version: '2.13.0', path: join(folder, 'libtorch'), cuda: false };
  mkdirSync(join(libtorch.path, 'lib'), { recursive: true });
  mkdirSync(join(sources, 'generated'), { recursive: true });
  writeFileSync(join(folder, 'empty.cpp'), '');
  const compiler = process.env.CXX ?? ['c++', 'g++', 'clang++'].find((name) => findProgram(name) !== undefined)!;
  const suffix = process.platform === 'darwin' ? 'dylib' : 'so';
  for (const name of ['torch_cpu', 'c10']) {
    const library = join(libtorch.path, 'lib', `lib${name}.${suffix}`);
    execFileSync(compiler, ['-shared', '-o', library, join(folder, 'empty.cpp')]);
  }
  writeFileSync(join(sources, 'CMakeLists.txt'), readFileSync(join(nativeFolder, 'CMakeLists.txt')));
  writeFileSync(join(sources, 'generated', 'more.cpp'), 'int more() { return 40; }');
  writeAddon('2');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function writeAddon(expression: string) {
  writeFileSync(
    join(sources, 'addon.cpp'),
    `#include <node_api.h>
int more();
NAPI_MODULE_INIT() {
  napi_value result;
  napi_create_int32(env, more() + ${expression}, &result);
  napi_set_named_property(env, exports, "answer", result);
  return exports;
}`,
  );
}

const build = () => buildAddon(cache, libtorch, process.env, { sources });
const answer = (addon: string) => createRequire(import.meta.url)(addon).answer;
const buildFolders = () => readdirSync(join(cache, 'build')).filter((name) => name !== 'failed.log');

describe('buildAddon', () => {
  it('builds once, and again only when a source changed', async () => {
    const first = await build();
    expect(first.built).toBe(true);
    expect(answer(first.addon)).toBe(42);
    expect(await build()).toEqual({ ...first, built: false, notes: [] });
    const folders = buildFolders();

    writeAddon('3');
    const second = await build();
    expect(second.built).toBe(true);
    expect(second.key).not.toBe(first.key);
    expect(answer(second.addon)).toBe(43);
    expect(buildFolders()).toEqual(folders);

    writeAddon('2');
    expect(await build()).toEqual({ ...first, built: false, notes: [] });
  });

  it('shows the first error with the path of the real source, and recovers', async () => {
    writeAddon('nonsense');
    await expect(build()).rejects.toMatchObject({ code: 'BUILD_FAILED' });
    await expect(build()).rejects.toThrow(`${join(sources, 'addon.cpp')}:5`);
    await expect(build()).rejects.toThrow('nonsense');
    writeAddon('4');
    expect(answer((await build()).addon)).toBe(44);
  });

  it('throws away a build folder in which a build was interrupted', async () => {
    const [before] = buildFolders();
    rmSync(join(cache, 'build', before!, 'idle'));
    writeAddon('5');
    expect(answer((await build()).addon)).toBe(45);
    const after = buildFolders();
    expect(after).toHaveLength(1);
    expect(after).not.toContain(before);
  });

  it.skipIf(process.platform === 'darwin')(
    'against CUDA: where NCCL does not compile it does without, and says why; nvcc brings its headers',
    async () => {
      const toolkit = join(folder, 'toolkit');
      for (const name of ['bin', 'include']) mkdirSync(join(toolkit, name), { recursive: true });
      writeFileSync(join(toolkit, 'bin', 'nvcc'), '#!/bin/sh\necho release 99.0\n', { mode: 0o755 });
      for (const name of ['cuda_runtime_api', 'cusparse', 'cublas_v2', 'cusolverDn', 'nccl'])
        writeFileSync(join(toolkit, 'include', `${name}.h`), '');
      const cuda = { ...libtorch, path: join(folder, 'libtorch with CUDA'), cuda: true };
      mkdirSync(cuda.path);
      cpSync(join(libtorch.path, 'lib'), join(cuda.path, 'lib'), { recursive: true });
      for (const name of ['torch', 'torch_cuda', 'c10_cuda'])
        copyFileSync(join(libtorch.path, 'lib', 'libc10.so'), join(cuda.path, 'lib', `lib${name}.so`));
      // As a header that NCCL's includes may lack another: the error itself does not speak of NCCL.
      writeFileSync(join(toolkit, 'include', 'half.h'), '#error no such header here\n\n\n\n\n\n\n\n\n\n\n\n\n');
      writeFileSync(join(sources, 'c10d_nccl.cpp'), '#ifdef TESSERA_NCCL\n#include <half.h>\n#endif\nvoid nccl() {}');
      // nvcc stands nowhere but on PATH.
      const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${join(toolkit, 'bin')}:${process.env.PATH}` };
      const built = await buildAddon(cache, cuda, env, { sources });
      expect(built.notes.join('\n')).toMatch(
        /^Without the noise kernel: [\s\S]*Without NCCL, [\s\S]*no such header here/,
      );
      expect(answer(built.addon)).toBe(45);
      rmSync(join(sources, 'c10d_nccl.cpp'));
    },
  );

  it('takes the number of jobs from a variable', () => {
    expect(jobs({ TESSERA_BUILD_JOBS: '8' })).toBe(8);
    expect(jobs({ TESSERA_BUILD_JOBS: '' })).toBe(jobs({}));
    expect(jobs({})).toBeGreaterThanOrEqual(1);
  });

  it('names what is missing when the addon cannot be loaded', async () => {
    writeFileSync(join(sources, 'generated', 'more.cpp'), 'int elsewhere(); int more() { return elsewhere(); }');
    await expect(build()).rejects.toThrow(/was built, but loading it with .*libtorch failed[\s\S]*elsewhere/);
  });
});
