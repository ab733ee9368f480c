/**
 * `tessera demo`: what this project does, on real images, in a few minutes: samples of the shipped model, then a `fit`
 * on the emoji data set that is rendered on the spot, and a report of both.
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderEmoji } from '../data/emoji/render-emoji.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { shippedModel } from './fit/shipped-models.ts';
import { fit } from './fit.ts';
import { sample } from './sample.ts';

export interface DemoOptions {
  /** Folder of runs: demo-001, demo-002, …; the emoji beside them. */
  runs: string;
  /** Minutes of the `fit`. */
  minutes: number;
  signal?: AbortSignal | undefined;
}

const MODEL = 'emoji-32';
const SIZE = 32;
/** Written last: a demo without it is resumed. */
const FINISHED = 'finished.json';

export async function* demo(options: DemoOptions): AsyncGenerator<PipelineEvent> {
  const began = performance.now();
  const { runs, minutes, signal } = options;
  const shipped = shippedModel(MODEL);
  if (shipped === undefined) throw new PipelineError('NO_MODEL', `The shipped model ${MODEL} is not installed.`);
  const out = demoFolder(runs);
  mkdirSync(out, { recursive: true });

  const shippedSamples = join(out, 'shipped');
  yield* withoutResult(sample({ model: shipped, out: shippedSamples, perClass: 8, seed: 1, reveal: true, signal }));
  signal?.throwIfAborted();

  const images = join(runs, 'emoji-32-images');
  yield* emoji(images, signal);

  yield {
    kind: 'note',
    message: `now a new generator from scratch in ${minutes} minutes: expect a falling loss and colours that depend on the class, no more`,
  };
  const fitOptions = { images, out, minutes, size: SIZE, seed: 0, tokenizer: 'keep' as const };
  let result: Record<string, unknown> = {};
  for await (const event of fit({ ...fitOptions, shippedSamples, ...(signal === undefined ? {} : { signal }) })) {
    if (event.kind === 'result') result = event.result;
    else yield event;
  }
  const seconds = (performance.now() - began) / 1000;
  writeFileSync(join(out, FINISHED), `${JSON.stringify({ seconds })}\n`);
  yield { kind: 'result', result: { ...result, out, shippedSamples, images, shippedModel: shipped, seconds } };
}

/** The newest demo that is not finished, or a new number. */
function demoFolder(runs: string): string {
  const numbers = (existsSync(runs) ? readdirSync(runs) : [])
    .map((name) => /^demo-(\d{3,})$/.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number);
  const last = Math.max(0, ...numbers);
  const name = (number: number): string => join(runs, `demo-${String(number).padStart(3, '0')}`);
  return last > 0 && !existsSync(join(name(last), FINISHED)) ? name(last) : name(last + 1);
}

async function* emoji(out: string, signal: AbortSignal | undefined): AsyncGenerator<PipelineEvent> {
  yield { kind: 'stage', stage: 'emoji', message: `rendering the emoji data set at ${SIZE} px` };
  let done = 0;
  let total = 1;
  let settled = false;
  const rendering = renderEmoji({
    out,
    size: SIZE,
    onProgress: (count, all) => {
      done = count;
      total = all;
    },
    ...(signal === undefined ? {} : { signal }),
  }).finally(() => {
    settled = true;
  });
  // Its failure is thrown by the await below; this keeps it from being unhandled until then.
  rendering.catch(() => {});
  while (!settled) {
    await Promise.race([rendering.catch(() => {}), new Promise((resolve) => setTimeout(resolve, 250))]);
    yield { kind: 'progress', stage: 'emoji', done, total, unit: 'images' };
  }
  await rendering;
}

async function* withoutResult(events: AsyncIterable<PipelineEvent>): AsyncGenerator<PipelineEvent> {
  for await (const event of events) if (event.kind !== 'result') yield event;
}
