// Who reads may go before the work is done, as `| head -1` does: the output ends then, and the work goes on.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const TESSERA = join(ROOT, 'packages/tessera/bin/tessera.js');
const MODEL = join(ROOT, 'packages/models-emoji/emoji-32');
const folder = mkdtempSync(join(tmpdir(), 'tessera-pipes-'));
afterAll(() => rmSync(folder, { recursive: true }));

test.each(['stdout', 'stderr'] as const)('%s may close early', { timeout: 60_000 }, async (name) => {
  const out = join(folder, name);
  const words = [
    'sample',
    MODEL,
    '--num-images',
    '40',
    '--batch',
    '4',
    '--out',
    out,
    ...(name === 'stdout' ? ['--json'] : []),
  ];
  const child = spawn(process.execPath, [TESSERA, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  child[name === 'stdout' ? 'stderr' : 'stdout'].resume();
  child[name].once('data', () => child[name].destroy());
  expect(await new Promise((done) => child.once('exit', done))).toBe(0);
  expect(existsSync(join(out, 'grid.png'))).toBe(true);
});
