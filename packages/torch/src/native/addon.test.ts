/** Without a built addon, or with one that does not load, every use is one line that names the command to run. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { hashNativeSources, writeCurrent } from '../../setup/cache.mjs';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'tessera no addon '));
  vi.stubEnv('TESSERA_CACHE', cache);
  vi.resetModules();
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

test('a missing addon is an AddonError, whichever function is first', async () => {
  const torch = await import('../index.ts');
  for (const use of [
    () => torch.zeros([2]),
    () => torch.tensor([1]),
    () => torch.scope(() => 0),
    () => torch.manualSeed(1),
    () => torch.isGradEnabled(),
    () => torch.memoryStats(),
  ]) {
    expect(use, String(use)).toThrow(torch.AddonError);
    expect(use).toThrow(/^The native addon is not built: run "npm run setup" [^\n]*$/);
  }
});

test('an addon that does not load is one line with the reason', async () => {
  const torch = await import('../index.ts');
  const addon = join(cache, 'tessera_torch.node');
  const path = join(cache, 'libtorch');
  mkdirSync(path);
  writeFileSync(addon, 'not a library');
  const libtorch = { path, version: '2.13.0', source: 'from a test', cuda: false };
  writeCurrent(cache, { addon, libtorch, nativeHash: hashNativeSources()!, key: 'k' });
  const use = () => torch.tensor([1]);
  expect(use).toThrow(torch.TensorError);
  expect(use).toThrow(/^The native addon [^\n]* could not be loaded \([^\n]*\): run "npm run setup"\.$/);
  expect(use).toThrow(expect.objectContaining({ code: 'NO_ADDON' }));
});
