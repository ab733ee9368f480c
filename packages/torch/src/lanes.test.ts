/** Kernels that are written once for all widths of vectors (native/lanes.h), at each width that this processor has. */

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

/** Worst error against float64 of attention and of a product, and whether a query alone has the bits that it has among others. */
const SCRIPT = `
  import { attendTokens, linear, linearTiles, manualSeed, noGrad, randn, scaledDotProductAttention, scope } from '@tessera/torch';
  manualSeed(1);
  const worst = (a, b) => a.to('float64').sub(b).abs().amax().item();
  const results = [];
  noGrad(() => scope(() => {
    for (const [numQueries, numKeys, width, numHeads] of [[65, 65, 36, 4], [20, 257, 64, 2], [1, 9, 5, 3], [13, 33, 17, 1]]) {
      const [q, k, v] = [numQueries, numKeys, numKeys].map((n) => randn([2, n, width * numHeads]));
      const heads = (x) => x.to('float64').unflatten(-1, [numHeads, width]).transpose(1, 2);
      const exact = scaledDotProductAttention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2);
      const made = attendTokens(q, k, v, numHeads);
      const last = (x) => x.narrow(1, numQueries - 1, 1);
      const alone = attendTokens(last(q), k, v, numHeads);
      results.push({ error: worst(made, exact), same: Buffer.compare(alone.toBytes(), last(made).toBytes()) === 0 });
    }
    for (const [rows, channels, outputs] of [[17, 1030, 513], [45, 512, 523], [256, 771, 768]]) {
      const [x, w, b] = [randn([rows, channels]), randn([outputs, channels]), randn([outputs])];
      const made = linearTiles(x, w, b);
      const first = linearTiles(x.narrow(0, 0, 17), w, b);
      const error = worst(made, linear(x.to('float64'), w.to('float64'), b.to('float64'))) / channels ** 0.5;
      results.push({ error, same: Buffer.compare(first.toBytes(), made.narrow(0, 0, 17).toBytes()) === 0 });
    }
  }));
  console.log(JSON.stringify(results));`;

function resultsWith(lanes: string): { error: number; same: boolean }[] {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', SCRIPT], {
    cwd: import.meta.dirname,
    env: { ...process.env, TESSERA_LANES: lanes },
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

// On a processor without AVX-512 sixteen lanes are eight.
test.each(['8', '16'])('attention and products with vectors of up to %s floats', (lanes) => {
  for (const { error, same } of resultsWith(lanes)) {
    expect(error).toBeLessThan(1e-5);
    expect(same).toBe(true);
  }
});

test('without our kernels: by libtorch', () => {
  for (const { error } of resultsWith('0')) expect(error).toBeLessThan(1e-5);
});
