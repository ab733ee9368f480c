import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dropsLabels } from './train-recipes.ts';
import { readTrainFile, resolveTraining } from './train-settings.ts';

const OFFICIAL = `
train: { n_steps: 500000, batch_size: 2048, log_interval: 50, save_interval: 5000 }
optimizer: { name: 'adamw', lr: 0.0004, weight_decay: 0.03, betas: [0.99, 0.99] }
lr_scheduler: { name: 'customized', warmup_steps: 5000 }
nnet:
  img_size: 16
  codebook_size: 1024
  embed_dim: 768
  depth: 24
  num_heads: 8
  mlp_ratio: 4
  qkv_bias: False
  num_classes: 1001
  use_checkpoint: False
  skip: True
muse: { ignore_ind: -1, smoothing: 0.1 }
dataset: { name: 'imagenet256_features', path: 'assets/features', cfg: True, p_uncond: 0.15 }
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'train settings '));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(text: string) {
  const path = join(folder, 'config.yaml');
  writeFileSync(path, text);
  return readTrainFile(path);
}

describe('resolveTraining', () => {
  it("gives the published recipe for AutoNAT-L, and its authors' file gives the same", () => {
    const preset = resolveTraining({ model: 'autonat-l' }, {}, undefined);
    expect(preset).toMatchObject({
      family: 'autonat',
      recipe: { maskDistribution: 'beta', maskBeta: [12, 3], labelSmoothing: 0.1, labelDrop: 0.15 },
      training: {
        globalBatch: 2048,
        totalSteps: 500_000,
        betas: [0.99, 0.99],
        weightDecay: 0.03,
        weightDecayOn: 'all',
        learningRate: { kind: 'constant', base: 4e-4, warmupSteps: 5000, exactOriginal: false },
      },
    });
    const file = fileOf(OFFICIAL);
    expect(file.data).toEqual(['assets/features/train.npy']);
    const { training, ...rest } = resolveTraining({}, file, undefined);
    expect({ ...rest, training: { ...training, logEvery: preset.training.logEvery } }).toEqual(preset);
  });

  it('lets flags change the file, and the file the preset', () => {
    const file = fileOf(
      'model: enat-nano\nnetwork: { embedDim: 96 }\nrecipe: { labelSmoothing: 0.2, reuseProbability: 0.3 }\n' +
        'training: { globalBatch: 32, totalSteps: 100, learningRate: { warmupSteps: 7 }, clip: 1 }\n',
    );
    const flags = { labelSmoothing: 0, steps: 50, learningRate: 1e-3, maskBeta: [4, 1], emaDecay: [0.99] };
    const { config, recipe, training } = resolveTraining(flags, file, { gridSize: 4, codebookSize: 16, numClasses: 3 });
    expect(config).toMatchObject({ embedDim: 96, gridSize: 4, codebookSize: 16, numClasses: 3, encoderDepth: 6 });
    expect(recipe).toMatchObject({ labelSmoothing: 0, reuseProbability: 0.3, maskBeta: [4, 1] });
    expect(training).toMatchObject({ globalBatch: 32, totalSteps: 50, clip: 1 });
    expect(training.learningRate).toMatchObject({ base: 1e-3, warmupSteps: 7 });
    expect(JSON.stringify(training.ema)).toContain('0.99');
  });

  it('takes over the quirks of the released trainers when asked to', () => {
    const { recipe, training } = resolveTraining({ model: 'enat-l', exactOriginal: true }, {}, undefined);
    expect(recipe).toMatchObject({ labelDrop: 0.15, networkLabelDrop: 0.1 });
    expect(training).toMatchObject({ discardsBatches: true, learningRate: { exactOriginal: true } });
    expect(JSON.stringify(training.ema)).toContain('"warmup":false');
    const plain = resolveTraining({ model: 'enat-l' }, {}, undefined);
    expect(plain.recipe).toMatchObject({ labelDrop: 0.235, networkLabelDrop: 0 });
    expect(plain.training.discardsBatches).toBe(false);
  });

  it.each([
    ['steps of the file', { epochs: 2 }, 40],
    ['steps of the file', { images: 640 }, 20],
    ['steps of the flag', { epochs: 2, globalBatch: 64 }, 20],
  ])('counts epochs and images in %s: %j', (_, flags, totalSteps) => {
    const data = { gridSize: 4, codebookSize: 16, numClasses: 3, numRows: 640 };
    const file = { model: 'enat-nano', training: { globalBatch: 32, totalSteps: 7 } } as const;
    expect(resolveTraining(flags, file, data).training.totalSteps).toBe(totalSteps);
  });

  it('learns the null class where the network drops labels by itself', () => {
    const flags = { model: 'enat-nano', labelDrop: 0 } as const;
    expect(dropsLabels(resolveTraining(flags, {}, undefined).recipe)).toBe(false);
    expect(dropsLabels(resolveTraining({ ...flags, exactOriginal: true }, {}, undefined).recipe)).toBe(true);
    expect(dropsLabels(resolveTraining({ model: 'enat-nano' }, {}, undefined).recipe)).toBe(true);
  });

  it.each([
    [{}, {}, /Expected a model \(autonat-l/],
    [{ model: 'autonat-nano', reuseProbability: 0.5 }, {}, /--reuse-probability is not of autonat: leave it out/],
    [{ model: 'gpt-nano', maskBeta: [3, 4] }, {}, /--mask-beta is not of gpt/],
    [{ model: 'enat-nano', patchLevel: 2 }, {}, /--patch-level is of GPT alone/],
    [{ model: 'enat-nano', shardParameters: true }, {}, /--shard-parameters is of GPT alone/],
    [{ model: 'gpt-nano', epochRate: 0.3 }, {}, /--epoch-rate is of the stages of --patch-level/],
    [
      { model: 'enat-nano', maskBeta: [3, 4] },
      { recipe: { maskDistribution: 'cosine' } },
      /--mask-beta .* this one is cosine/,
    ],
    [{ model: 'autonat-nano', numClasses: 2 }, {}, /The data has 3 classes, the model would have 2/],
    [{ model: 'autonat-nano' }, { network: { dept: 3 } }, /did you mean "depth"/],
    [{ model: 'autonat-nano' }, { training: { globlBatch: 3 } }, /did you mean "globalBatch"/],
  ] as const)('refuses %j %j', (flags, file, message) => {
    const data = { gridSize: 4, codebookSize: 16, numClasses: 3 };
    expect(() => resolveTraining(flags, file, data)).toThrow(message);
  });

  it.each([
    ['model: autonat-xl\n', /config.yaml: model/],
    ['modle: autonat-l\n', /did you mean "model"/],
    ['model: [\n', /cannot be read/],
    [OFFICIAL.replace('smoothing', 'smothing'), /did you mean "smoothing"/],
    [OFFICIAL.replace('skip: True', 'skip: False'), /nnet.skip/],
  ])('refuses the file %#', (text, message) => {
    expect(() => fileOf(text)).toThrow(message);
  });
});

it('the largest models are sharded unless the file or a flag says otherwise; what is sharded is no part of the settings of a run', () => {
  const sharding = (flags: object, file = {}) => {
    const { shardOptimizer, shardParameters } = resolveTraining(flags, file, undefined);
    return [shardOptimizer, shardParameters];
  };
  for (const model of ['gpt-3b', 'gpt-7b'] as const) expect(sharding({ model })).toEqual([false, true]);
  for (const model of ['gpt-b', 'gpt-xxl', 'enat-l'] as const) expect(sharding({ model })).toEqual([false, false]);
  expect(sharding({ model: 'gpt-3b' }, { shardParameters: false })).toEqual([false, false]);
  expect(sharding({ model: 'gpt-b', shardParameters: true }, { shardOptimizer: true })).toEqual([true, true]);
  const plain = resolveTraining({ model: 'enat-nano' }, {}, undefined);
  const sharded = resolveTraining({ model: 'enat-nano', shardOptimizer: true }, {}, undefined);
  expect(sharded.training).toEqual(plain.training);
});
