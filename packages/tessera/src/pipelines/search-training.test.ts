import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Draws, parseStrategy } from '@tessera/schedule';
import { memoryStats, setNumThreads } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { EvaluationRecord } from '../search/ledger.ts';
import { TrainingError } from '../training/training-error.ts';
import type { PipelineEvent } from './events.ts';
import { hashModel } from './search/search-plan.ts';
import { TrainingEvaluators } from './search/training-evaluator.ts';
import { type SearchTrainingOptions, searchTraining } from './search-training.ts';
import { TINY_CLASSES, writeTinyAutonat, writeTinyGpt, writeTinyModel } from './tiny-model.test-support.ts';
import { readTrainFile, resolveTraining } from './train-settings.ts';

let folder: string;
let model: string;
let tokens: string;

beforeAll(() => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'search training '));
  model = join(folder, 'model');
  tokens = join(folder, 'tokens');
  writeTinyModel(model);
  const writer = new TokenDatasetWriter(tokens, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 12; i++) {
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  }
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(out: string, changes: Partial<SearchTrainingOptions> = {}): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  const options: SearchTrainingOptions = {
    ...{ model, data: [tokens], out: join(folder, out), objective: 'likelihood', reference: tokens },
    ...{ steps: 2, globalBatch: 4, learningRate: 1e-2, numImages: 6, confirmBlocks: 2, budget: { evaluations: 4 } },
    ...changes,
  };
  for await (const event of searchTraining(options)) events.push(event);
  return events;
}

function resultOf(events: readonly PipelineEvent[]): Record<string, unknown> {
  expect(events.filter(({ kind }) => kind === 'result')).toHaveLength(1);
  const last = events.at(-1)!;
  if (last.kind !== 'result') throw new Error('expected a result');
  return last.result;
}

function recordsIn(out: string): Pick<EvaluationRecord, 'index' | 'point' | 'value'>[] {
  const text = readFileSync(join(folder, out, 'evaluations.jsonl'), 'utf8').trim();
  const records = text.split('\n').map((line) => JSON.parse(line) as EvaluationRecord);
  return records.map(({ index, point, value }) => ({ index, point, value }));
}

describe('searchTraining', () => {
  it('trains with different mask ratios from the same weights, and leaves a recipe that train takes', async () => {
    const before = memoryStats().liveTensors;
    const events = await run('whole');
    expect(memoryStats().liveTensors).toBe(before);
    const { maskBeta, value, evaluations, files } = resultOf(events) as {
      maskBeta: [number, number];
      value: number;
      evaluations: number;
      files: Record<string, string>;
    };
    const records = recordsIn('whole');
    expect(evaluations).toBe(4);
    expect(value).toBe(Math.min(...records.map((record) => record.value)));
    expect(records[0]!.point.map(Math.exp)).toEqual([expect.closeTo(12, 9), expect.closeTo(3, 9)]);
    expect(new Set(records.map((record) => record.value)).size).toBe(4);
    expect(events.some((event) => event.kind === 'progress' && event.stage === 'inner')).toBe(true);

    const { recipe } = resolveTraining({ model: 'enat-nano' }, readTrainFile(files.recipe!), undefined);
    expect(recipe).toMatchObject({ maskDistribution: 'beta', maskBeta });
    expect(parseYaml(readFileSync(files.recipe!, 'utf8')).provenance).toMatchObject({
      ...{ madeBy: 'tessera search-training', modelHash: await hashModel(model), steps: 2, evaluations: 4, images: 24 },
      ...{ objective: 'likelihood', seed: 0, value },
    });
    // The best network is not the one that it began at; its folder says how it is sampled.
    expect(await hashModel(files.model!)).not.toBe(await hashModel(model));
    expect(parseStrategy(parseYaml(readFileSync(join(files.model!, 'strategy.yaml'), 'utf8'))).numSteps).toBe(3);
    // The start's training and the best one's, for the comparison; no more.
    expect(readdirSync(join(folder, 'whole', 'inner')).length).toBeLessThanOrEqual(2);
    expect(readFileSync(join(folder, 'whole', 'report.html'), 'utf8')).toContain('mean ratio');
  });

  it('makes no finished training again after a kill, and comes to the same end', async () => {
    await run('cut', { budget: { evaluations: 2 } });
    const inner = join(folder, 'cut', 'inner');
    const first = readdirSync(inner).find((name) => name === 'beta-12-3')!;
    const manifest = join(inner, first, 'checkpoints', 'step-0000002', 'manifest.json');
    const made = statSync(manifest).mtimeMs;
    // As a kill leaves it: half a line of the record.
    const ledger = join(folder, 'cut', 'evaluations.jsonl');
    writeFileSync(ledger, readFileSync(ledger).subarray(0, -9));
    const events = await run('cut');
    expect(events).toContainEqual({ kind: 'note', message: 'Going on after 1 trainings.' });
    expect(statSync(manifest).mtimeMs).toBe(made);
    expect(recordsIn('cut')).toEqual(recordsIn('whole'));
    const [cut, whole] = ['cut', 'whole'].map((out) => join(folder, out));
    expect(readFileSync(join(cut!, 'recipe.yaml'), 'utf8')).toBe(readFileSync(join(whole!, 'recipe.yaml'), 'utf8'));
    expect(await hashModel(join(cut!, 'model'))).toBe(await hashModel(join(whole!, 'model')));
  });

  it('measures each training by its own network, and goes on alike, when images are drawn', async () => {
    const options = { objective: 'fd-local', confirmBlocks: 0, budget: { evaluations: 3 } };
    await run('drawn', options);
    const drawn = recordsIn('drawn');
    // One training alone in a process: nothing is kept of another's network.
    const [, second] = drawn;
    const alone = { ...options, start: second!.point.map(Math.exp) as [number, number], budget: { evaluations: 1 } };
    await run('drawn alone', alone);
    expect(recordsIn('drawn alone')[0]!.value).toBe(second!.value);
  });

  it('counts a training that diverges as the worst, and ends where the start does', async () => {
    const { train } = TrainingEvaluators.prototype;
    const spy = vi.spyOn(TrainingEvaluators.prototype, 'train').mockImplementation(function (
      this: TrainingEvaluators,
      settings,
    ) {
      if (settings.maskBeta[0] === 12) return train.call(this, settings);
      throw new TrainingError('NOT_FINITE', 'the loss is NaN');
    });
    await expect(run('diverged', { start: [9, 3] })).rejects.toThrow('the loss is NaN');
    const events = await run('some diverged', { budget: { evaluations: 4 }, confirmBlocks: 0 });
    spy.mockRestore();
    expect(resultOf(events)).toMatchObject({ maskBeta: [12, expect.anything()], evaluations: 4 });
    const records = recordsIn('some diverged');
    const failed = events.filter((event) => event.kind === 'note' && event.message.includes('gave no number'));
    expect(failed.length).toBeGreaterThan(0);
    expect(new Set(records.map(({ value }) => value)).size).toBe(records.length - failed.length);
  });

  it('does not guide networks whose recipe drops no labels', async () => {
    const config = join(folder, 'kept labels.yaml');
    writeFileSync(config, 'recipe: { labelDrop: 0 }\n');
    const options = { config, budget: { evaluations: 1 }, confirmBlocks: 0 };
    const { files } = resultOf(await run('kept labels', options)) as { files: Record<string, string> };
    expect(JSON.parse(readFileSync(join(files.model!, 'config.json'), 'utf8')).nullClass).toBe(false);
    const { steps } = parseStrategy(parseYaml(readFileSync(join(files.model!, 'strategy.yaml'), 'utf8')));
    expect(steps.map(({ guidanceScale }) => guidanceScale)).toEqual([1, 1, 1]);
    const guided = join(model, 'strategy.yaml');
    await expect(run('refused', { ...options, strategy: guided })).rejects.toThrow('cannot be guided');
    await expect(run('refused', { ...options, rounds: 1, scheduleImages: 9 })).rejects.toThrow('leave --rounds away');
  });

  it('leaves a training that a kill cut short until it is recorded', async () => {
    await run('kept', { budget: { evaluations: 2 } });
    const unfinished = join(folder, 'kept', 'inner', 'beta-9-9');
    mkdirSync(unfinished);
    await run('kept', { budget: { evaluations: 2 } });
    expect(existsSync(unfinished)).toBe(true);
    await run('kept', { budget: { evaluations: 3 } });
    expect(existsSync(unfinished)).toBe(false);
  });

  it.each([
    ['network: { embedDim: 9 }', 'network.embedDim: that of the model folder is'],
    ['heldOut: tokens/val', 'heldOut: trainings are compared by their images'],
    ['tokenizer: models/vq', "tokenizer: the model folder's is taken"],
    ['training: { evaluateEvery: 8 }', 'training.evaluateEvery: trainings are measured at their ends'],
    ['training: { learningRate: 1.0e-3 }', 'training.learningRate: expected a curve'],
    ['training: { seed: 8 }', 'training.seed: give the seed of the search'],
    ['recipe: { maskDistribution: cosine }', 'recipe.maskDistribution: the search is over Beta'],
  ])('refuses a file with %j, which nobody would read', async (text, message) => {
    const config = join(folder, 'decided.yaml');
    writeFileSync(config, text);
    await expect(run('refused', { config })).rejects.toThrow(message);
  });

  it('searches schedule and mask ratios in turn, each from what the other found, and goes on between them', async () => {
    const options = { rounds: 2, scheduleImages: 18, budget: { evaluations: 2 }, confirmBlocks: 0 };
    const { maskBeta, files } = resultOf(await run('turns', options)) as {
      maskBeta: number[];
      files: Record<string, string>;
    };
    const plan = (name: string) => JSON.parse(readFileSync(join(folder, 'turns', name, 'search.json'), 'utf8'));
    const strategy = (name: string) => parseYaml(readFileSync(join(folder, 'turns', name, 'strategy.yaml'), 'utf8'));
    const recipe = (path: string) => parseYaml(readFileSync(join(folder, 'turns', path), 'utf8')).recipe;
    expect(plan('round-1-schedule').modelHash).toBe(await hashModel(model));
    expect(plan('round-1-training').strategy.steps).toEqual(strategy('round-1-schedule').steps);
    expect(plan('round-2-schedule').modelHash).toBe(
      await hashModel(join(folder, 'turns', 'round-1-training', 'model')),
    );
    expect(plan('round-2-schedule').start.steps).toEqual(strategy('round-1-schedule').steps);
    expect(plan('round-2-training').start).toEqual(recipe('round-1-training/recipe.yaml').maskBeta);
    // Trainings of all rounds begin at the model's own weights.
    expect(plan('round-2-training').modelHash).toBe(await hashModel(model));
    expect(recipe('recipe.yaml').maskBeta).toEqual(maskBeta);
    expect(files.model).toBe(join(folder, 'turns', 'model'));
    const lengths = ['round-1-schedule', 'round-2-training'].map((name) => recordsIn(join('turns', name)).length);
    expect(lengths).toEqual([3, 2]);
    rmSync(join(folder, 'turns', 'round-2-training'), { recursive: true });
    expect(resultOf(await run('turns', options))).toMatchObject({ maskBeta });
  });

  it('begins at random weights where asked, and takes its settings from a file', async () => {
    const config = join(folder, 'settings.yaml');
    writeFileSync(config, 'recipe: { maskBeta: [2, 5], labelDrop: 0.5 }\ntraining: { globalBatch: 6 }\n');
    const options = { config, globalBatch: undefined, fromScratch: true, budget: { evaluations: 1 }, confirmBlocks: 0 };
    expect(resultOf(await run('scratch', options))).toMatchObject({ maskBeta: [2, 5] });
    const { recipe, training, start } = JSON.parse(readFileSync(join(folder, 'scratch', 'search.json'), 'utf8'));
    expect(recipe).toMatchObject({ labelDrop: 0.5, reuseProbability: 0.5 });
    expect(recipe).not.toHaveProperty('maskBeta');
    expect(training).toMatchObject({ globalBatch: 6, totalSteps: 2, learningRate: { base: 0.01 } });
    expect(start).toEqual([2, 5]);
    const warm = await run('warm', { ...options, fromScratch: false });
    expect(resultOf(warm).value).not.toBe(recordsIn('scratch')[0]!.value);
  });

  it('trains AutoNATs as well, and refuses models without mask ratios, and ranks', async () => {
    const [autonat, gpt] = ['autonat', 'gpt'].map((name) => join(folder, name)) as [string, string];
    writeTinyAutonat(autonat, model);
    writeTinyGpt(gpt, model);
    const options = { model: autonat, budget: { evaluations: 2 }, confirmBlocks: 0 };
    expect(resultOf(await run('autonat run', options))).toMatchObject({ evaluations: 2 });
    const { family } = JSON.parse(readFileSync(join(folder, 'autonat run', 'model', 'config.json'), 'utf8'));
    expect(family).toBe('autonat');
    // The original's own configuration, below what this search is told.
    const config = join(folder, 'AutoNAT.yaml');
    const nnet =
      'codebook_size: 1024, mlp_ratio: 4, qkv_bias: False, num_classes: 1001, use_checkpoint: True, skip: True';
    const official = (embedDim: number) => `
train: { n_steps: 500000, batch_size: 4 }
optimizer: { name: adamw, lr: 0.002, weight_decay: 0.01, betas: [0.9, 0.9] }
lr_scheduler: { name: customized, warmup_steps: 0 }
nnet: { img_size: 16, embed_dim: ${embedDim}, depth: 2, num_heads: 2, ${nnet} }
muse: { ignore_ind: -1, smoothing: 0 }
dataset: { name: imagenet256_features, path: features, cfg: True, p_uncond: 0.25 }
`;
    writeFileSync(config, official(16));
    const asOfficial = {
      ...options,
      config,
      learningRate: undefined,
      globalBatch: undefined,
      budget: { evaluations: 1 },
    };
    await run('official', asOfficial);
    const plan = JSON.parse(readFileSync(join(folder, 'official', 'search.json'), 'utf8'));
    expect(plan.recipe).toMatchObject({ labelSmoothing: 0, labelDrop: 0.25 });
    expect(plan.training).toMatchObject({
      globalBatch: 4,
      totalSteps: 2,
      weightDecay: 0.01,
      learningRate: { base: 0.002 },
    });
    writeFileSync(config, official(768));
    await expect(run('refused', asOfficial)).rejects.toThrow('network.embedDim: that of the model folder is 16');
    await expect(run('refused', { model: gpt })).rejects.toThrow('Mask ratios belong to masked models');
    const launcher = { RANK: '0', LOCAL_RANK: '0', WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: '1' };
    for (const [name, value] of Object.entries(launcher)) vi.stubEnv(name, value);
    await expect(run('refused')).rejects.toThrow('without a launcher');
    vi.unstubAllEnvs();
  });

  it.each([
    [{ budget: {} }, 'Expected a budget'],
    [{ data: [] }, 'Expected tokens to train on'],
    [{ population: 4, method: 'coordinate' as const }, '--population belongs to trust-region and cma-es'],
    [{ rounds: 1 }, 'expected a budget of images for it'],
    [{ scheduleImages: 9 }, '--schedule-images belongs to the search of the schedule'],
    [{ bounds: { alpha: [3, 2] as [number, number] } }, 'bounds of alpha with 0.01 ≤ low'],
    [{ start: [0, 1] as [number, number] }, 'α and β above 0'],
    [{ budget: { images: 5 } }, 'does not hold one training'],
    [{ reference: undefined }, 'likelihood needs something to compare with'],
    [{ strategy: 'fuond' }, 'fuond'],
    [{ steps: 0 }, 'totalSteps'],
  ])('refuses %j', async (changes, message) => {
    await expect(run('refused', changes)).rejects.toThrow(message);
    rmSync(join(folder, 'refused'), { recursive: true, force: true });
  });

  it('refuses other settings and other weights than the search began with', async () => {
    const copy = join(folder, 'copy');
    writeTinyModel(copy);
    const options = { model: copy, budget: { evaluations: 1 }, confirmBlocks: 0 };
    await run('changed', options);
    await expect(run('changed', { ...options, numImages: 7 })).rejects.toThrow('numImages: 6 there, 7 now');
    await expect(run('changed', { ...options, steps: 3 })).rejects.toThrow('training.totalSteps: 2 there, 3 now');
    const weights = join(copy, 'model.safetensors');
    const bytes = readFileSync(weights);
    bytes[bytes.length - 2]! ^= 1;
    writeFileSync(weights, bytes);
    await expect(run('changed', options)).rejects.toThrow('have changed since the search');
    expect(existsSync(join(folder, 'changed', 'recipe.yaml'))).toBe(true);
  });
});
