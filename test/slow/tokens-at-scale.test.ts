/**
 * Training input of ImageNet's size with mirror images: 2.6 million rows of 257 numbers, in our layout (1.3 GB) and read
 * from a child process, so that its memory is its own. Needs 1.4 GB of disk.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TokenDatasetWriter } from 'tessera';
import { afterAll, beforeAll, expect, it } from 'vitest';

const NUM_ROWS = 2_600_000;
const L = 256;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera scale '));
  const classes = Array.from({ length: 1000 }, (_, label) => String(label));
  const writer = new TokenDatasetWriter(join(folder, 'tokens'), { gridSize: 16, codebookSize: 1024, classes });
  const row = new Int32Array(L);
  for (let image = 0; image < NUM_ROWS; image++) {
    // The first three tokens spell the row's number; the others are filled once.
    row[0] = image & 1023;
    row[1] = (image >> 10) & 1023;
    row[2] = image >> 20;
    writer.add(image % 1000, row);
  }
  writer.finish();
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Measured {
  openSeconds: number;
  anonymousMegabytes: number;
  wrongRows: number;
  distinct: number;
}

it('opens in under a second, adds under 200 MB, gives each row once an epoch from any place', () => {
  const script = `
    import { readFileSync } from 'node:fs';
    import { scope } from '@tessera/torch';
    import { openTokens, shardAt } from 'tessera';
    const anonymous = () => Number(/Rss_Anon:|RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
    scope(() => {});
    const before = anonymous();
    const began = performance.now();
    const data = openTokens(${JSON.stringify(join(folder, 'tokens'))});
    const openSeconds = (performance.now() - began) / 1000;
    const plan = { seed: 5, globalBatch: 2048, shardSize: 2048, numItems: data.numRows };
    const seen = new Uint8Array(data.numRows);
    let wrongRows = 0;
    const steps = Math.ceil(data.numRows / 2048);
    // Every item of the epoch is asked for; the rows of one step in eight are read and compared.
    for (let k = 0; k < steps; k++) {
      // Backwards: a step needs none of those before it.
      const step = steps - 1 - k;
      const { items } = shardAt(plan, step, 0);
      const inEpoch = items.slice(0, Math.min(2048, data.numRows - step * 2048));
      for (const item of inEpoch) seen[item] += 1;
      if (step % 8 !== 0) continue;
      scope(() => {
        const { tokens, labels } = data.rows(inEpoch, undefined);
        const [a, b, c] = [0, 1, 2].map((column) => tokens.select(1, column).toNumbers());
        const of = labels.toNumbers();
        inEpoch.forEach((item, i) => {
          if (a[i] + 1024 * b[i] + 1048576 * c[i] !== item || of[i] !== item % 1000) wrongRows += 1;
        });
      });
    }
    const anonymousMegabytes = anonymous() - before;
    console.log(JSON.stringify({ openSeconds, anonymousMegabytes, wrongRows, distinct: seen.reduce((n, x) => n + (x === 1 ? 1 : 0), 0) }));
  `;
  const args = ['--input-type=module', '-e', script];
  const printed = execFileSync(process.execPath, args, { cwd: join(import.meta.dirname, '..'), encoding: 'utf8' });
  const measured = JSON.parse(printed) as Measured;
  console.log(measured);
  expect(measured).toMatchObject({ wrongRows: 0, distinct: NUM_ROWS });
  expect(measured.openSeconds).toBeLessThan(1);
  if (process.platform === 'linux') expect(measured.anonymousMegabytes).toBeLessThan(200);
}, 600_000);
