/** Large tensors' memory is kept for the next ones up to a limit (native/large_blocks.cpp), and is theirs alone. */

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { full, keep, scope } from './index.ts';

/** MiB of resident memory after some lines, less what stood before; in a process of its own. */
function growth(lines: string, limit: string): number {
  const script = `
    import { full, keep, scope } from '@tessera/torch';
    scope(() => { full([4], 1); });
    const before = process.memoryUsage().rss;
    ${lines}
    console.log((process.memoryUsage().rss - before) / 2 ** 20);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: import.meta.dirname,
    env: { ...process.env, TESSERA_KEEP_MEMORY: limit },
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return Number(stdout);
}

test('freed memory stays up to TESSERA_KEEP_MEMORY', () => {
  const eightOf32 = 'scope(() => { for (let k = 0; k < 8; k++) full([2 ** 23], k); });';
  expect(growth(eightOf32, '512')).toBeGreaterThan(240);
  expect(growth(eightOf32, '64')).toBeLessThan(110);
  expect(growth(eightOf32, '0')).toBeLessThan(40);
});

test('what a tensor leaves of its last huge page is no memory', () => {
  // 200 MiB, of which each has a page of 2 MiB to itself, or two.
  const many = (count: number, entries: number): string =>
    `scope(() => { for (let k = 0; k < ${count}; k++) keep(full([${entries}], k)); });`;
  expect(growth(many(200, 2 ** 18), '0')).toBeLessThan(230);
  expect(growth(many(80, 2 ** 18 * 2.5), '0')).toBeLessThan(230);
});

test('tensors of many large sizes, freed in another order, keep their own values', () => {
  const sizes = [300_000, 262_144, 1_048_577, 524_288, 2_097_152, 700_001];
  const owned: ReturnType<typeof full>[] = [];
  for (let round = 0; round < 30; round++) {
    scope(() => {
      owned.push(keep(full([sizes[(round * 5) % sizes.length]!], round)));
    });
    if (round % 3 === 2) owned.splice((round * 7) % owned.length, 1)[0]!.dispose();
  }
  for (const tensor of owned) {
    const [least, most] = scope(() => [tensor.amin().item(), tensor.amax().item()]);
    expect(least).toBe(most);
  }
  expect(new Set(owned.map((tensor) => scope(() => tensor.amin().item()))).size).toBe(owned.length);
  for (const tensor of owned) tensor.dispose();
});
