/** Pipelines in workers, by the built package: a worker cannot load TypeScript. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type PipelineEvent, runInWorker, sample, type WorkerSettings } from 'tessera';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTinyModel } from './tiny-model.test-support.ts';

const torch = pathToFileURL(createRequire(import.meta.url).resolve('@tessera/torch')).href;

const PIPELINES = `
import { getNumThreads } from '${torch}';
const note = (message) => ({ kind: 'note', message });

export async function* threads() { yield note(String(getNumThreads())); }
export async function* endless({ flags, signal }) {
  try {
    for (;;) { signal.throwIfAborted(); flags[0]++; yield note('on'); }
  } finally { flags[1] = 1; }
}
export async function* fails() {
  yield note('so far so good');
  throw Object.assign(new Error('no brush', { cause: new TypeError('bristles') }), { name: 'PipelineError', code: 'BRUSH' });
}
export async function* defect() { undefined.x; }
export async function* exits() { yield note('still here'); process.exit(3); }
export async function* throwsAside() { setTimeout(() => { throw new Error('aside'); }); await new Promise((r) => setTimeout(r, 1e5)); }
export async function* deaf() { yield note('on'); await new Promise(() => setInterval(() => {}, 1000)); }
export async function* unclonable() { yield note(() => {}); }
export const noPipeline = 7;
`;

let folder: string;
let module: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-worker-'));
  module = pathToFileURL(join(folder, 'pipelines.mjs')).href;
  writeFileSync(join(folder, 'pipelines.mjs'), PIPELINES);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function all(events: AsyncIterable<PipelineEvent>): Promise<PipelineEvent[]> {
  const list: PipelineEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

function start(name: string, options: object = {}, settings: WorkerSettings = {}): AsyncGenerator<PipelineEvent> {
  return runInWorker({ name, module }, options, settings);
}

async function failureOf(name: string): Promise<Error & { code?: string }> {
  return all(start(name)).then(
    () => Promise.reject(new Error('it did not fail')),
    (error) => error,
  );
}

describe('runInWorker', () => {
  it('gives the events of a pipeline of this package, and the same pictures', async () => {
    const model = join(folder, 'model');
    writeTinyModel(model);
    const options = { model, numImages: 2, seed: 3 };
    const here = await all(sample({ ...options, out: join(folder, 'out') }));
    const grid = readFileSync(join(folder, 'out', 'grid.png'));
    const there = await all(runInWorker({ name: 'sample' }, { ...options, out: join(folder, 'out') }, { threads: 1 }));
    expect(there).toEqual(here);
    expect(there.at(-1)!.kind).toBe('result');
    expect(readFileSync(join(folder, 'out', 'grid.png')).equals(grid)).toBe(true);
  });

  it.each([1, 2])('hands the number of threads on: %i', async (threads) => {
    expect(await all(start('threads', {}, { threads }))).toEqual([{ kind: 'note', message: String(threads) }]);
  });

  it('lets the worker run ahead of its reader by the window, not more', async () => {
    const flags = new Int32Array(new SharedArrayBuffer(8));
    const events = start('endless', { flags }, { window: 4 });
    for (let i = 0; i < 3; i++) await events.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    // Room for the window, one given back for each event but the last, and one event in the generator's hands.
    expect(flags[0]).toBeGreaterThanOrEqual(6);
    expect(flags[0]).toBeLessThanOrEqual(7);
    await events.return(undefined);
    expect(flags[1]).toBe(1);
  });

  it('aborts the pipeline and throws the reason', async () => {
    const flags = new Int32Array(new SharedArrayBuffer(8));
    const controller = new AbortController();
    const reason = new Error('enough');
    const run = async (): Promise<void> => {
      for await (const _ of start('endless', { flags }, { signal: controller.signal })) controller.abort(reason);
    };
    await expect(run()).rejects.toBe(reason);
    expect(flags[1]).toBe(1);
    await expect(start('endless', { flags }, { signal: controller.signal }).next()).rejects.toBe(reason);
  });

  it('lets a pipeline clean up when its reader leaves', async () => {
    const flags = new Int32Array(new SharedArrayBuffer(8));
    for await (const _ of start('endless', { flags })) break;
    expect(flags[1]).toBe(1);
  });

  it('cuts off one that does not listen', async () => {
    for await (const _ of start('deaf', {}, { graceMs: 50 })) break;
  });

  it('passes errors on with class, code, cause and the stack of the worker', async () => {
    const error = await failureOf('fails');
    expect(error).toMatchObject({
      name: 'PipelineError',
      code: 'BRUSH',
      message: 'no brush',
      cause: { message: 'bristles' },
    });
    expect(error.constructor.name).toBe('PipelineError');
    expect(error.stack).toMatch(/at fails.*pipelines\.mjs:\d+/s);
    expect(await failureOf('defect')).toMatchObject({
      name: 'TypeError',
      message: expect.stringContaining('undefined'),
    });
    expect((await failureOf('unclonable')).name).toBe('DataCloneError');
  });

  it('names what is not there', async () => {
    expect(await failureOf('noPipeline')).toMatchObject({
      code: 'NO_PIPELINE',
      message: expect.stringMatching(/"noPipeline", got number/),
    });
    const nowhere = runInWorker({ name: 'x', module: `${module}.nowhere` }, {});
    await expect(nowhere.next()).rejects.toMatchObject({ code: 'ERR_MODULE_NOT_FOUND' });
  });

  it('notices the death of the worker', async () => {
    expect(await failureOf('exits')).toMatchObject({
      code: 'WORKER_DIED',
      message: expect.stringMatching(/"exits" ended with exit code 3/),
    });
    expect(await failureOf('throwsAside')).toMatchObject({
      code: 'WORKER_DIED',
      message: expect.stringMatching(/\(aside\)/),
    });
  });
});
