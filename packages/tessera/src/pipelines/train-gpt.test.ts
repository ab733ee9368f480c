import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  atPath,
  encodeNpy,
  flattenStateDict,
  readSafetensorsHeader,
  readTensorBytes,
  readTorchCheckpoint,
} from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { setNumThreads } from '@tessera/torch';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { GptRecipe } from '../models/gpt-recipe.ts';
import { exportCheckpoint } from './export-checkpoint.ts';
import { type TrainOptions, train } from './train.ts';
import { resolveTraining } from './train-settings.ts';

let folder: string;
beforeAll(() => setNumThreads(1));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function writeTokens(gridSize = 4): string {
  folder = mkdtempSync(join(tmpdir(), 'tessera-gpt-'));
  const path = join(folder, 'tokens');
  const writer = new TokenDatasetWriter(path, { gridSize, codebookSize: 16, classes: ['a', 'b'] });
  for (let i = 0; i < 24; i++) {
    writer.add(i % 2, Array.from({ length: gridSize * gridSize }, (_, j) => (i * 5 + j) % 16)); // biome-ignore format: one row
  }
  writer.finish();
  return path;
}

async function run(options: Partial<TrainOptions>, stopAt?: number): Promise<string[]> {
  const stop = new AbortController();
  const notes: string[] = [];
  const whole = { model: 'gpt-nano', globalBatch: 8, checkpointEvery: 3, signal: stop.signal, ...options } as const;
  try {
    for await (const event of train(whole)) {
      if (event.kind === 'note') notes.push(event.message);
      if (event.kind === 'progress' && event.done === stopAt) stop.abort();
    }
  } catch (error) {
    if (stopAt === undefined) throw error;
  }
  return notes;
}

const OPTIONS = { epochs: 4, patchLevel: 2, lrSchedule: 'npp', learningRate: 1e-3 } as const;
const checkpoint = (out: string): string => readFileSync(join(out, 'checkpoints/step-0000012/manifest.json'), 'utf8');

test('stages show in the logs, and a run stopped in the middle of one ends in the same bits', async () => {
  const data = [writeTokens()];
  const [once, twice, copies] = ['once', 'twice', 'copies'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const notes = await run({ ...OPTIONS, data, out: once, alsoSaveTo: copies });
  expect(notes).toContain('patches of 2x2 tokens to step 6, 1x1 tokens to step 12');
  const lines = readFileSync(join(once, 'metrics.jsonl'), 'utf8').trim().split('\n');
  expect(lines.some((line) => JSON.parse(line).patchSide >= 1)).toBe(true);

  await run({ ...OPTIONS, data, out: twice }, 5);
  await run({ ...OPTIONS, data, out: twice });
  const weights = (out: string) => JSON.parse(checkpoint(out)).files['model.safetensors'];
  expect(weights(twice)).toEqual(weights(once));
  expect(weights(once)).toBeDefined();
  expect(readFileSync(join(copies, 'step-0000012/manifest.json'), 'utf8')).toBe(checkpoint(once));
  // As a kill between the last checkpoint and its copy leaves it.
  rmSync(join(copies, 'step-0000012'), { recursive: true });
  await run({ ...OPTIONS, data, out: once, alsoSaveTo: copies });
  expect(readFileSync(join(copies, 'step-0000012/manifest.json'), 'utf8')).toBe(checkpoint(once));
}, 60_000);

test("a run goes out as its trainer's file", async () => {
  const data = [writeTokens()];
  const [out, file] = [join(folder, 'run'), join(folder, '0000012.pt')];
  await run({ ...OPTIONS, data, out });
  for await (const _ of exportCheckpoint({ source: out, out: file }));
  const checkpointFolder = join(out, 'checkpoints/step-0000012');
  withFile(file, (reader) => {
    const value = readTorchCheckpoint(reader);
    const [settings, undecayed] = atPath(value, ['optimizer', 'param_groups']) as Map<string, unknown>[];
    expect(atPath(value, ['steps'])).toBe(12);
    expect(settings!.get('betas')).toEqual([0.9, 0.95]);
    expect([settings!.get('weight_decay'), undecayed!.get('weight_decay')]).toEqual([0.05, 0]);
    expect(atPath(value, ['args', 'vocab_size'])).toBe(16);
    const equal = (entry: string[], ours: string, name: string, own = name) => {
      const theirs = flattenStateDict(value, entry).get(name)!.contiguousBytes();
      const stored = withFile(join(checkpointFolder, ours), (from) =>
        readTensorBytes(from, readSafetensorsHeader(from).tensors.get(own)!).slice(),
      );
      expect(Buffer.compare(theirs, stored), `${ours} ${own}`).toBe(0);
    };
    equal(['model'], 'model.safetensors', 'output.weight');
    equal(['ema'], 'ema.safetensors', 'layers.1.feed_forward.w2.weight');
    // The first parameter that does not decay follows all that do.
    const numbers = undecayed!.get('params') as number[];
    equal(['optimizer', 'state'], 'optimizer.safetensors', `${numbers[0]}.exp_avg_sq`, 'layers.0.attention_norm.weight.exp_avg_sq'); // biome-ignore format: one row
    equal(['optimizer', 'state'], 'optimizer.safetensors', '0.step', 'cls_embedding.embedding_table.weight.step');
  });
}, 60_000);

test('patches that do not fit the grid, and data of another size, are refused before the first step', async () => {
  const data = [writeTokens(6)];
  const out = join(folder, 'run');
  await expect(run({ ...OPTIONS, patchLevel: 3, data, out })).rejects.toThrow('divides the 6x6 grid, got 4');
  await expect(run({ ...OPTIONS, data, out, size: 256 })).rejects.toThrow(/256 px images.*the data has 6x6/);
});

test("the documented command gives the original's schedule", () => {
  const flags = { model: 'gpt-b', patchLevel: 2, epochRate: 0.5, lrSchedule: 'npp' } as const;
  const { training, recipe } = resolveTraining(flags, {}, undefined);
  const steps = 300 * 5004;
  expect(training).toMatchObject({ totalSteps: steps, betas: [0.9, 0.95], weightDecayOn: 'matrices', clip: 1 });
  expect(training.learningRate).toMatchObject({ base: 1e-4, end: 1e-5, warmupSteps: 5004, decayRatio: 0.2 });
  expect((recipe as GptRecipe).stages).toEqual([
    { patchSide: 2, end: steps / 2 },
    { patchSide: 1, end: steps },
  ]);
});

test('precision is a setting of the run', () => {
  const base = { model: 'gpt-b', globalBatch: 8 } as const;
  expect(resolveTraining({ ...base, precision: 'bf16' }, {}, undefined).training.precision).toBe('bf16');
  expect(resolveTraining({ ...base, precision: 'float32' }, {}, undefined).training.precision).toBeUndefined();
  expect(resolveTraining(base, { training: { precision: 'bf16' } }, undefined).training.precision).toBe('bf16');
  expect(resolveTraining({ ...base, precision: 'fp16' }, {}, undefined).training.precision).toBe('fp16');
});

/** LlamaGen's layout: ten pictures an image, picture k of all codes first + k. */
function writeTenCrop(path: string, first: number): void {
  for (const what of ['codes', 'labels']) mkdirSync(join(path, `imagenet64_${what}`), { recursive: true });
  const codes = BigInt64Array.from({ length: 160 }, (_, i) => BigInt(first + Math.floor(i / 16)));
  for (let i = 0; i < 16; i++) {
    const label = encodeNpy({ dtype: 'int64', shape: [1], data: BigInt64Array.of(BigInt(i % 2)) });
    writeFileSync(
      join(path, `imagenet64_codes/${i}.npy`),
      encodeNpy({ dtype: 'int64', shape: [1, 10, 16], data: codes }),
    );
    writeFileSync(join(path, `imagenet64_labels/${i}.npy`), label);
  }
}

test('two ten-crop sources are paired by their names, and a GPT sees crops of both', async () => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-gpt-'));
  const [tree, sibling] = [join(folder, 'code_flip_ten_crop'), join(folder, 'code_flip_ten_crop_105')];
  writeTenCrop(tree, 0);
  writeTenCrop(sibling, 10);
  const out = join(folder, 'run');
  await run({ data: [tree], out, size: 64, steps: 10, patchLevel: 2 });
  // A code that was never fed has no moment; row c of the table is code c.
  const seen = withFile(join(out, 'checkpoints/step-0000010/optimizer.safetensors'), (reader) => {
    const tensor = readSafetensorsHeader(reader).tensors.get('tok_embeddings.weight.exp_avg_sq')!;
    const values = new Float32Array(readTensorBytes(reader, tensor).slice().buffer);
    const width = tensor.shape[1]!;
    return Array.from({ length: tensor.shape[0]! }, (_, c) => c).filter((c) =>
      values.subarray(c * width, (c + 1) * width).some((value) => value !== 0),
    );
  });
  expect(seen.filter((code) => code < 10).length).toBeGreaterThan(6);
  expect(seen.filter((code) => code >= 10).length).toBeGreaterThan(6);
  expect(Math.max(...seen)).toBeLessThan(20);
}, 60_000);
