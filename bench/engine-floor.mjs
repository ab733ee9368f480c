// What libtorch alone takes for the additions of engine.mjs: engine-floor.cpp, compiled against the libtorch that the
// engine runs on, where there is a compiler.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder, hashNativeSources, readCurrent } from '../packages/torch/setup/cache.mjs';

/** @returns {import('./measure.mjs').Row[]} none where g++ is missing or does not compile it */
export function libtorchAlone() {
  const libtorch = readCurrent(cacheFolder(), hashNativeSources())?.libtorch.path;
  if (libtorch === undefined) return [];
  const folder = mkdtempSync(join(tmpdir(), 'tessera-floor-'));
  try {
    const program = join(folder, 'floor');
    const source = fileURLToPath(new URL('./engine-floor.cpp', import.meta.url));
    const [headers, libraries] = [join(libtorch, 'include'), join(libtorch, 'lib')];
    const flags = ['-O2', '-std=c++20', `-I${headers}`, `-L${libraries}`, `-Wl,-rpath,${libraries}`];
    const made = spawnSync('g++', [source, ...flags, '-ltorch_cpu', '-lc10', '-o', program], { stdio: 'ignore' });
    if (made.status !== 0) return [];
    return Object.entries(JSON.parse(execFileSync(program, { encoding: 'utf8' }))).map(([name, micro]) => ({
      name: `${name}: libtorch alone, from C++`,
      unit: 'µs',
      ours: { median: micro, low: micro, high: micro },
    }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
