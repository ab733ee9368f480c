/** Runs the examples of the package's README in a folder with a tiny model, a few images and a plan of a few steps. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as torch from '@tessera/torch';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as tessera from '../index.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

const SIZE = 16;
const STEPS = 4;
const back = process.cwd();
const examples = [
  ...readFileSync(new URL('../../README.md', import.meta.url), 'utf8').matchAll(/```js\n(.*?)```/gs),
].map((match) => match[1]!);
let folder: string;

beforeAll(async () => {
  // Tiny tensors: a second thread only waits, and much longer where cores are shared.
  torch.setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'tessera readme '));
  process.chdir(folder);
  writeTinyModel('model');
  for (const [label, name] of ['sea', 'wood'].entries()) {
    mkdirSync(join('photos', name), { recursive: true });
    for (let i = 0; i < 12; i++) {
      const data = Uint8Array.from({ length: SIZE * SIZE * 3 }, (_, at) => (at * 7 + i * 31 + label * 100) % 256);
      const png = await tessera.encodePng({ width: SIZE, height: SIZE, data });
      writeFileSync(join('photos', name, `${i}.png`), png);
    }
  }
  await writePlan(join('runs', 'photos'));
});

afterAll(() => {
  process.chdir(back);
  rmSync(folder, { recursive: true, force: true });
});

/** Runs an example with this package in place of its imports; returns what it printed. */
async function run(example: string): Promise<string[]> {
  const body = example.replace(/^import (\{.*\}) from '(tessera|@tessera\/torch)';$/gm, "const $1 = modules['$2'];");
  expect(body).not.toContain('import ');
  const printed: string[] = [];
  const log = (...values: unknown[]) => printed.push(values.join(' '));
  const modules = { tessera, '@tessera/torch': torch };
  await new Function('modules', 'console', `'use strict'; return (async () => { ${body} })();`)(modules, { log });
  return printed;
}

it('has two examples', () => expect(examples.length).toBe(2));

it('the first one samples, and leaves no tensors behind', async () => {
  const before = torch.memoryStats().liveTensors;
  expect(await run(examples[0]!)).toEqual([/\/\/ -> (.*)/.exec(examples[0]!)![1]]);
  expect(torch.memoryStats().liveTensors).toBe(before);
});

it('the second one fits', async () => {
  const printed = await run(examples[1]!);
  expect(printed.map((line) => line.split(':')[0])).toEqual(
    expect.arrayContaining(['images', 'tokenizer', 'tokens', 'generator', 'finish']),
  );
  const model = tessera.openModelFolder(printed.at(-1)!);
  expect(model.classes).toEqual(['sea', 'wood']);
  model.dispose();
});

/** A plan decides, whoever wrote it: this one is done in seconds. */
async function writePlan(out: string): Promise<void> {
  const loading = tessera.loadFitImages('photos', { size: SIZE, seed: 0, signal: undefined });
  let next = await loading.next();
  while (!next.done) next = await loading.next();
  const { fingerprint, classes, train, heldOut } = next.value;
  const learningRate = { kind: 'constant', base: 1e-3, warmupSteps: 1 };
  const training = { globalBatch: 8, totalSteps: STEPS, learningRate, sampleEvery: STEPS };
  const narrow = { channels: 8, latentChannels: 16, codebookSize: 32, codeDim: 4, groupNormGroups: 4 };
  const plan = {
    formatVersion: 1,
    imageSize: SIZE,
    seed: 0,
    threads: torch.getNumThreads(),
    torch: torch.torchVersion(),
    dataFingerprint: fingerprint,
    numTrain: train.labels.length,
    numHeldOut: heldOut.labels.length,
    classes,
    tokenizer: { mode: 'train', reason: 'a test', config: tessera.vqPreset('vq-small', narrow), recipe: {}, training },
    generator: {
      config: tessera.enatPreset('enat-nano', {
        gridSize: 4,
        codebookSize: 32,
        numClasses: 2,
        embedDim: 24,
        encoderDepth: 2,
        decoderDepth: 1,
        numHeads: 2,
      }),
      task: {},
      training,
    },
    measured: {},
  };
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'plan.json'), JSON.stringify(plan));
}
