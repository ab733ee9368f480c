import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addonKey } from '../packages/torch/setup/build-addon.mjs';
import { cacheFolder, workspaceRoot } from '../packages/torch/setup/cache.mjs';
import { fetchedFolder, selectLibtorchEntry } from '../packages/torch/setup/libtorch-archive.mjs';
import { locateLibtorch } from '../packages/torch/setup/locate-libtorch.mjs';
import { shareLocks, withLock } from '../packages/torch/setup/lock.mjs';
import type { SetupFailure } from '../packages/torch/setup/setup-failure.mjs';
import { makeZip } from './make-zip.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
let folder: string;
let cache: string;
let bin: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera set up '));
  cache = join(folder, 'the cache');
  bin = join(folder, 'bin');
  mkdirSync(bin);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function program(name: string, script: string) {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

/** Runs scripts/setup.mjs with nothing on PATH but what the test put into `bin`. */
function runSetup(env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [join(root, 'scripts', 'setup.mjs')], {
      cwd: folder,
      env: { PATH: bin, HOME: folder, TESSERA_CACHE: cache, ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => {
      stdout += text;
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.on('close', (code) => done({ code, stdout, stderr }));
  });
}

const VERSION_H = ['MAJOR 2', 'MINOR 13', 'PATCH 0'].map((line) => `#define TORCH_VERSION_${line}\n`).join('');

function fakeWheel(version = VERSION_H): Buffer {
  const file = (name: string, text: string) => ({ name, data: Buffer.from(text) });
  return makeZip([
    file('torch/__init__.py', 'pass'),
    file('torch/lib/libtorch_cpu.so', 'the CPU kernels'),
    file('torch/lib/libc10.so', 'the core'),
    file('torch/lib/libtorch_python.so', 'not needed'),
    file('torch/include/ATen/ATen.h', '#pragma once'),
    file('torch/include/torch/headeronly/version.h', version),
  ]);
}

/** A python3 without torch whose pip download delivers `wheel`. */
function fakePython(wheel: Uint8Array) {
  const path = join(folder, 'torch-2.13.0+cpu-fake.whl');
  writeFileSync(path, wheel);
  program(
    'python3',
    `[ "$1" = -c ] && exit 0\nwhile [ $# -gt 0 ]; do [ "$1" = --dest ] && exec /bin/cp '${path}' "$2"; shift; done\nexit 2`,
  );
}

const locate = (env: NodeJS.ProcessEnv = {}) =>
  locateLibtorch(cache, { PATH: bin, TESSERA_LIBTORCH_WAYS: '1,2,3', ...env });

async function failure(promise: Promise<unknown>): Promise<SetupFailure> {
  return promise.then(
    () => expect.fail('it should have failed'),
    (error) => error,
  );
}

describe('npm run setup', () => {
  it('says in one message that the compiler and cmake are missing', async () => {
    const { code, stderr } = await runSetup();
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Set-up stopped: .*C\+\+20 compiler.*cmake.*make or ninja.*Install.*\n$/);
    expect(existsSync(join(cache, 'current.json'))).toBe(false);
    expect(existsSync(join(cache, 'setup.lock'))).toBe(false);
  });

  it('names only what is missing', async () => {
    for (const name of ['c++', 'make']) program(name, 'exit 0');
    const { stderr } = await runSetup();
    expect(stderr).toMatch(/needs cmake, not found on PATH/);
  });

  it('names the ways to libtorch when there is none', async () => {
    for (const name of ['c++', 'make', 'cmake']) program(name, 'exit 0');
    const { code, stderr } = await runSetup({ TESSERA_LIBTORCH_WAYS: '1,2,3' });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /No libtorch[\s\S]*1\. set LIBTORCH[\s\S]*2\. install torch[\s\S]*no python3[\s\S]*3\. have python3/,
    );
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it('refuses a LIBTORCH that is none', async () => {
    for (const name of ['c++', 'make', 'cmake']) program(name, 'exit 0');
    const { code, stderr } = await runSetup({ LIBTORCH: join(folder, 'no such folder') });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Set-up stopped: LIBTORCH must name a folder.*there is no folder.*Correct LIBTORCH.*\n$/);
  });

  it('says so when the cache cannot be made', async () => {
    writeFileSync(cache, 'a file, no folder');
    const { code, stderr } = await runSetup();
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Set-up stopped: Cannot write .*TESSERA_CACHE names another folder\.\n$/);
  });
});

describe('locateLibtorch', () => {
  it('unpacks what pip downloads, and finds it again without pip', async () => {
    fakePython(fakeWheel());
    const path = fetchedFolder(cache);
    const found = { path, version: '2.13.0', cuda: false, source: 'downloaded with pip' };
    expect(await locate()).toEqual({ ...found, fetched: true });
    expect(readdirSync(join(path, 'lib')).sort()).toEqual(['libc10.so', 'libtorch_cpu.so']);
    expect(readdirSync(cache)).toEqual([path.slice(cache.length + 1)]);
    program('python3', 'exit 1');
    expect(await locate()).toEqual({ ...found, fetched: false });
  });

  it('refuses a half-downloaded archive, leaves nothing behind, and succeeds the next time', async () => {
    fakePython(fakeWheel().subarray(0, 300));
    const error = await failure(locate());
    expect(error.code).toBe('LIBTORCH_MISSING');
    expect(error.message).toMatch(/3\. .*damaged: no zip directory.*half-downloaded/);
    expect(readdirSync(cache)).toEqual(['downloads']);
    expect(readdirSync(join(cache, 'downloads'))).toEqual([]);
    fakePython(fakeWheel());
    expect((await locate()).fetched).toBe(true);
  });

  it('refuses a corrupted archive likewise', async () => {
    const wheel = fakeWheel();
    wheel[wheel.indexOf('libtorch_cpu.so') + 20]! ^= 0xff;
    fakePython(wheel);
    expect((await failure(locate())).message).toMatch(/damaged: torch\/lib\/libtorch_cpu\.so/);
    expect(readdirSync(join(cache, 'downloads'))).toEqual([]);
  });

  it('deletes an archive in the cache whose hash is wrong, and fetches another', async () => {
    const left = join(cache, 'downloads', 'torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl');
    mkdirSync(dirname(left), { recursive: true });
    writeFileSync(left, fakeWheel());
    fakePython(fakeWheel());
    expect(await locate()).toMatchObject({ source: 'downloaded with pip', fetched: true });
    expect(existsSync(left)).toBe(false);

    rmSync(fetchedFolder(cache), { recursive: true });
    mkdirSync(dirname(left), { recursive: true });
    writeFileSync(left, 'half');
    program('python3', 'exit 1');
    expect((await failure(locate())).message).toMatch(
      /\n {2}\(The archive .*damaged: its SHA-256 is .*; it was removed\)\n/,
    );
    expect(existsSync(left)).toBe(false);
  });

  it('fetches again when a library was cut short', async () => {
    fakePython(fakeWheel());
    const { path } = await locate();
    truncateSync(join(path, 'lib', 'libtorch_cpu.so'), 3);
    expect((await locate()).fetched).toBe(true);
    expect((await locate()).fetched).toBe(false);
  });

  it('takes LIBTORCH first, then a supported Python torch', async () => {
    fakePython(fakeWheel());
    const { path } = await locate();
    program('python3', `[ "$1" = -c ] && echo '${path}'`);
    expect(await locate()).toMatchObject({ path, source: "from Python's torch" });
    expect(await locate({ LIBTORCH: path })).toMatchObject({ path, source: 'from LIBTORCH' });
  });

  it('refuses an unsupported version, and names it', async () => {
    fakePython(fakeWheel(VERSION_H.replace('MINOR 13', 'MINOR 10')));
    expect((await failure(locate())).message).toContain('torch 2.10.0; supported is 2.11 to 2.14');
  });

  it('unpacks libraries and headers only', () => {
    expect(selectLibtorchEntry('torch/lib/libgomp.so.1')).toBe('lib/libgomp.so.1');
    expect(selectLibtorchEntry('libtorch/include/ATen/ATen.h')).toBe('include/ATen/ATen.h');
    for (const name of ['torch/nn/x.py', 'torch/lib/libtorch_python.so', 'torch/lib/libshm/a.h', 'x/torch/lib/a.so']) {
      expect(selectLibtorchEntry(name)).toBeUndefined();
    }
  });
});

describe('the cache', () => {
  it('is where TESSERA_CACHE says, in the checkout, or in the cache folder of the user', () => {
    expect(cacheFolder({ TESSERA_CACHE: cache })).toBe(cache);
    expect(cacheFolder({})).toBe(join(root, '.cache', 'tessera'));
    const installed = join(root, 'node_modules', '@tessera', 'torch');
    expect(workspaceRoot(installed)).toBeUndefined();
    expect(cacheFolder({ XDG_CACHE_HOME: folder }, installed)).toBe(join(folder, 'tessera'));
  });

  it('has a key that names libtorch and the sources', () => {
    const libtorch = { version: '2.13.0', path: '/a', cuda: false };
    const key = addonKey(libtorch, 'h');
    expect(addonKey({ ...libtorch }, 'h')).toBe(key);
    const others = [{ version: '2.13.1' }, { path: '/b' }, { cuda: true }].map((other) =>
      addonKey({ ...libtorch, ...other }, 'h'),
    );
    expect(new Set([key, addonKey(libtorch, 'i'), ...others]).size).toBe(5);
  });
});

describe('withLock', () => {
  const lock = () => join(cache, 'a.lock');

  it('lets one at a time work, and leaves nothing', async () => {
    let inside = 0;
    const work = async () => {
      expect(++inside).toBe(1);
      await new Promise((done) => setTimeout(done, 20));
      inside--;
      return 'done';
    };
    const waited: number[] = [];
    const all = [1, 2, 3].map(() => withLock(lock(), work, (pid) => waited.push(pid)));
    expect(await Promise.all(all)).toEqual(['done', 'done', 'done']);
    expect(waited).toEqual([process.pid, process.pid]);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('is released when the work throws', async () => {
    await expect(withLock(lock(), () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await withLock(lock(), async () => 1)).toBe(1);
  });

  it.each([
    ['of a process that is gone', JSON.stringify({ pid: 2 ** 22 + 1, children: [2 ** 22 + 2], host: 'HERE' }), 0],
    ['that is damaged', '{"pid"', 0],
    ['whose pid another process has by now', JSON.stringify({ pid: process.pid, children: [], host: 'HERE' }), 120],
    [
      'of another host, untouched for long',
      JSON.stringify({ pid: process.pid, children: [], host: 'elsewhere.invalid' }),
      120,
    ],
  ])('breaks a lock %s', async (_, text, age) => {
    mkdirSync(cache);
    writeFileSync(lock(), text.replace('HERE', hostname()));
    const then = new Date(Date.now() - age * 1000);
    utimesSync(lock(), then, then);
    expect(
      await withLock(
        lock(),
        async () => 1,
        () => expect.fail('waited'),
      ),
    ).toBe(1);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('waits for the children of a killed holder', async () => {
    mkdirSync(cache);
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
    const killed = { pid: 2 ** 22 + 1, children: [child.pid], host: hostname() };
    writeFileSync(lock(), JSON.stringify(killed));
    const waited: number[] = [];
    const work = async () => child.exitCode ?? child.signalCode;
    const onWait = (pid: number) => {
      waited.push(pid);
      child.kill();
    };
    expect(await withLock(lock(), work, onWait)).toBe('SIGTERM');
    expect(waited).toEqual([child.pid]);
  });

  it('records the children of the holder while they run', async () => {
    const recorded = () => JSON.parse(readFileSync(lock(), 'utf8')).children;
    await withLock(lock(), async () => {
      const release = shareLocks(4321);
      expect(recorded()).toEqual([4321]);
      release();
      expect(recorded()).toEqual([]);
    });
    expect(readdirSync(cache)).toEqual([]);
  });
});
