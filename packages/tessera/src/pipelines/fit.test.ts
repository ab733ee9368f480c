import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getNumThreads, memoryStats, setNumThreads, torchVersion } from '@tessera/torch';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { encodePng } from '../data/contact-sheet.ts';
import { enatPreset } from '../models/presets.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import type { PipelineEvent } from './events.ts';
import { loadFitImages } from './fit/images.ts';
import { type FitOptions, fit } from './fit.ts';

vi.setConfig({ testTimeout: 60_000 }); // It trains: seconds here, more on a busy machine.

const SIZE = 16;
const SEED = 3;

let folder: string;
let images: string;
let plan: string;

beforeAll(async () => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'tessera fit '));
  images = join(folder, 'photos');
  for (const [label, name] of ['sea', 'wood'].entries()) {
    mkdirSync(join(images, name), { recursive: true });
    for (let i = 0; i < 6; i++) {
      const data = Uint8Array.from({ length: SIZE * SIZE * 3 }, (_, at) => (at * (i + 3) + 90 * label) % 251);
      writeFileSync(join(images, name, `${i}.png`), await encodePng({ width: SIZE, height: SIZE, data }));
    }
  }
  plan = join(folder, 'plan.json');
  // Another number of threads than the process has.
  writeFileSync(plan, JSON.stringify(await tinyPlan(2)));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Done in seconds. */
async function tinyPlan(threads: number): Promise<object> {
  const loading = loadFitImages(images, { size: SIZE, seed: SEED, signal: undefined });
  let next = await loading.next();
  while (!next.done) next = await loading.next();
  const { fingerprint, classes, train, heldOut, close } = next.value;
  await close();
  const training = { globalBatch: 4, totalSteps: 2, learningRate: { kind: 'constant', base: 1e-3 }, sampleEvery: 2 };
  const vq = vqPreset('vq-small', { channels: 8, latentChannels: 16, codebookSize: 32, codeDim: 4, groupNormGroups: 4 }); // biome-ignore format: one row
  const sizes = { gridSize: 4, codebookSize: 32, numClasses: 2, embedDim: 24, encoderDepth: 2, decoderDepth: 1, numHeads: 2 }; // biome-ignore format: one row
  return {
    formatVersion: 1,
    imageSize: SIZE,
    seed: SEED,
    threads,
    torch: torchVersion(),
    dataFingerprint: fingerprint,
    numTrain: train.numImages,
    numHeldOut: heldOut.numImages,
    classes,
    tokenizer: { mode: 'train', reason: 'a test', config: vq, recipe: {}, training },
    generator: { config: enatPreset('enat-nano', sizes), task: {}, training },
    measured: {},
  };
}

async function run(options: Partial<FitOptions>, until?: (event: PipelineEvent) => void): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of fit({ images, out: join(folder, 'run'), ...options })) {
    events.push(event);
    until?.(event);
  }
  return events;
}

const said = (events: readonly PipelineEvent[], kind: 'note' | 'warning'): string =>
  events.flatMap((event) => (event.kind === kind ? [event.message] : [])).join('\n');

test('a fit that stops in its last training frees everything, and the same command ends it', async () => {
  const before = memoryStats().liveTensors;
  const stop = new AbortController();
  const atGenerator = (event: PipelineEvent) => {
    if (event.kind === 'progress' && event.stage === 'generator') stop.abort();
  };
  await expect(run({ plan, signal: stop.signal }, atGenerator)).rejects.toThrow();
  expect(memoryStats().liveTensors).toBe(before);
  const events = await run({ plan, minutes: 60, tokenizer: 'keep' });
  expect(events.at(-1)).toMatchObject({ kind: 'result', result: { model: join(folder, 'run', 'model') } });
  expect(memoryStats().liveTensors).toBe(before);
  expect(said(events, 'note')).toContain(`by the plan ${join(folder, 'run', 'plan.json')}: it decides`);
  // The plan's threads are there by the time they are compared.
  expect(getNumThreads()).toBe(2);
  setNumThreads(1);
  expect(said(events, 'warning')).toBe('');
  expect(readFileSync(join(folder, 'run', 'report.html'), 'utf8')).toContain(
    'A class a row, in this order: sea, wood.',
  );
});

test('images that are not there leave no run folder', async () => {
  const out = join(folder, 'never');
  await expect(run({ images: join(folder, 'nowhere'), out })).rejects.toThrow('nowhere');
  expect(existsSync(out)).toBe(false);
});

test('a plan that is there refuses another plan, size or seed', async () => {
  const out = join(folder, 'planned');
  mkdirSync(out);
  writeFileSync(join(out, 'plan.json'), readFileSync(plan));
  const other = join(folder, 'other.json');
  const changed = (changes: object) => {
    writeFileSync(other, JSON.stringify({ ...JSON.parse(readFileSync(plan, 'utf8')), ...changes }));
    return other;
  };
  const refusal = (options: Partial<FitOptions>) => expect(run({ out, ...options })).rejects;
  await refusal({ plan: changed({ threads: 5 }) }).toMatchObject({
    code: 'PLAN',
    message: expect.stringContaining('threads: 2 there, 5 now. Leave out --plan'),
  });
  await refusal({ size: 32 }).toThrow(/has size 16, --size says 32/);
  await refusal({ seed: 0 }).toThrow(/has seed 3, --seed says 0/);
  await refusal({ out: join(folder, 'fresh'), plan, seed: 4 }).toThrow(/has seed 3, --seed says 4/);
  // What is measured is for people: a plan without it is the same.
  const stop = AbortSignal.abort();
  await refusal({ plan: changed({ measured: { x: 1 } }), seed: SEED, size: SIZE, signal: stop }).not.toMatchObject({
    code: 'PLAN',
  });
});
