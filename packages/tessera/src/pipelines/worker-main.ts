/**
 * The worker's side of runInWorker: imports the pipeline, runs it, and posts its events as far as the caller has room.
 * Loaded by worker_threads only.
 */

import { setImmediate } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { setNumThreads } from '@tessera/torch';
import { PipelineError, type PipelineEvent } from './events.ts';
import { type FromWorker, type ToWorker, toPlainError, type WorkerOrder } from './worker-messages.ts';

/** Long synchronous steps starve messages: let them in this often, so that an abort arrives. */
const BREATH_MS = 25;

const port = parentPort!;
const controller = new AbortController();
let room = (workerData as WorkerOrder).window;
let stopped = false;
let wake = (): void => {};

port.on('message', (message: ToWorker) => {
  if (message.kind === 'more') room++;
  if (message.kind === 'abort') controller.abort();
  if (message.kind === 'stop') stopped = true;
  wake();
});

await run(workerData as WorkerOrder).then(
  () => post({ kind: 'end' }),
  (error) => post({ kind: 'error', error: toPlainError(error) }),
);
port.close();

async function run({ module, name, options, threads }: WorkerOrder): Promise<void> {
  setNumThreads(threads);
  const pipeline = (await import(module))[name] as ((options: object) => AsyncIterable<PipelineEvent>) | undefined;
  if (typeof pipeline !== 'function') {
    throw new PipelineError(
      'NO_PIPELINE',
      `${module}: expected an exported pipeline "${name}", got ${typeof pipeline}.`,
    );
  }
  let breath = Date.now();
  for await (const event of pipeline({ ...options, signal: controller.signal })) {
    while (room === 0 && !stopped) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (stopped) return; // which also runs the pipeline's own clean-up
    room--;
    post({ kind: 'event', event });
    if (Date.now() - breath < BREATH_MS) continue;
    await setImmediate();
    breath = Date.now();
  }
}

function post(message: FromWorker): void {
  port.postMessage(message);
}
