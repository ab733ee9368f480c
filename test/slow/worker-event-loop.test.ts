/**
 * The event loop of the calling thread stays free while a model runs in a worker: the 99th percentile of its delay
 * stays under 20 ms. The same pipeline on the calling thread is the control: its steps block for longer than that.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type PipelineEvent, runInWorker } from 'tessera';
import { afterAll, beforeAll, expect, test } from 'vitest';

const require = createRequire(new URL('../../packages/tessera/package.json', import.meta.url));
const torch = pathToFileURL(require.resolve('@tessera/torch')).href;

/** A model of one layer whose steps take about 100 ms each, whatever the machine. */
const MODULE = `
import { noGrad, randn, scope } from '${torch}';
export async function* busy() {
  const [x, w] = [randn([256, 256]), randn([256, 256]).div(16)];
  for (let step = 1; step <= 20; step++) {
    noGrad(() => scope(() => {
      for (const end = performance.now() + 100; performance.now() < end; ) x.matmul(w).tanh().sum().item();
    }));
    yield { kind: 'progress', stage: 'busy', done: step, total: 20, unit: 'steps' };
    await new Promise((resolve) => setImmediate(resolve));
  }
  x.dispose();
  w.dispose();
}
`;

let folder: string;
let module: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-event-loop-'));
  writeFileSync(join(folder, 'busy.mjs'), MODULE);
  module = pathToFileURL(join(folder, 'busy.mjs')).href;
});
afterAll(() => rmSync(folder, { recursive: true }));

/** p99 in milliseconds from the first event to the last: loading libtorch is not part of it. */
async function delayDuring(events: AsyncGenerator<PipelineEvent>): Promise<number> {
  await events.next();
  const histogram = monitorEventLoopDelay({ resolution: 2 });
  histogram.enable();
  await setTimeout(20);
  let steps = 1;
  for await (const event of events) steps += Number(event.kind === 'progress');
  histogram.disable();
  expect(steps).toBe(20);
  return histogram.percentile(99) / 1e6;
}

test('p99 of the event-loop delay stays under 20 ms with the model in a worker, and not without', {
  timeout: 60_000,
}, async () => {
  const here = await delayDuring((await import(module)).busy());
  expect(here).toBeGreaterThan(60);
  // The best of a few runs: other processes on the machine may take the core at any time.
  const runs: number[] = [];
  for (let i = 0; i < 4 && !(Math.min(...runs) < 20); i++) {
    runs.push(await delayDuring(runInWorker({ name: 'busy', module }, {}, { threads: 1 })));
  }
  expect(Math.min(...runs), `p99 of ${runs.length} runs`).toBeLessThan(20);
});
