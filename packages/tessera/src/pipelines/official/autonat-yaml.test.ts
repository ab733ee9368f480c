import { expect, it } from 'vitest';
import { readAutonatYaml } from './autonat-yaml.ts';

const FILE = `
train: {n_steps: 300, batch_size: 64, log_interval: 5, save_interval: 50}
optimizer: {name: adamw, lr: 0.0004, weight_decay: 0.03, betas: [0.99, 0.98]}
lr_scheduler: {name: customized, warmup_steps: 20}
nnet: {img_size: 16, codebook_size: 1024, embed_dim: 96, depth: 4, num_heads: 3, mlp_ratio: 4, qkv_bias: False, num_classes: 11, use_checkpoint: False, skip: True}
muse: {ignore_ind: -1, smoothing: 0.1}
dataset: {name: imagenet256_features, path: assets/tokens, cfg: True, p_uncond: 0.15}
`;

it("reads AutoNAT's configuration under our names", () => {
  expect(readAutonatYaml(FILE, 'L.yaml')).toEqual({
    model: { gridSize: 16, codebookSize: 1024, numClasses: 10, embedDim: 96, depth: 4, numHeads: 3, mlpRatio: 4 },
    training: {
      totalSteps: 300,
      globalBatch: 64,
      learningRate: 0.0004,
      warmupSteps: 20,
      betas: [0.99, 0.98],
      weightDecay: 0.03,
      checkpointEvery: 50,
      labelSmoothing: 0.1,
      labelDrop: 0.15,
    },
    dataPath: 'assets/tokens',
  });
});

it.each([
  ['skip: True', 'skip: False', 'nnet.skip'],
  ['warmup_steps: 20', 'warmup_stpes: 20', 'did you mean "warmup_steps"'],
  ['num_classes: 11', 'num_classes: 1', 'nnet.num_classes'],
  ['name: adamw', 'name: adam', 'optimizer.name'],
])('refuses %s as %s', (before, after, message) => {
  expect(() => readAutonatYaml(FILE.replace(before, after), 'L.yaml')).toThrow(message);
});
