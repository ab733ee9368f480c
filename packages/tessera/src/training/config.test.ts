import { expect, test } from 'vitest';
import { defaultShardSize, resolveTrainingConfig } from './config.ts';

const REQUIRED = { globalBatch: 128, totalSteps: 10, learningRate: { kind: 'constant', base: 1e-3 } };

test.each([
  [1, 1],
  [64, 64],
  [127, 127],
  [128, 64],
  [200, 100], // 3 shards do not divide it
  [192, 64],
  [512, 64],
  [2048, 256],
  [131, 131],
])('a global batch of %i has shards of %i', (globalBatch, shardSize) => {
  expect(defaultShardSize(globalBatch)).toBe(shardSize);
});

test('defaults are filled in', () => {
  expect(resolveTrainingConfig(REQUIRED)).toMatchObject({
    shardSize: 64,
    betas: [0.9, 0.999],
    ema: [{ decay: 0.9999, warmup: true }],
    learningRate: { warmupSteps: 0 },
    weightDecayOn: 'all',
  });
});

test.each([
  [{ ...REQUIRED, shardSize: 60 }, 'run.yaml: shardSize: expected a divisor of globalBatch 128, got 60'],
  [{ ...REQUIRED, global_batch: 1 }, 'did you mean "globalBatch"?'],
  [{ ...REQUIRED, betas: [0.9, 1] }, 'betas[1]'],
  [{ ...REQUIRED, totalSteps: 0 }, 'totalSteps'],
])('wrong settings are refused: %#', (config, message) => {
  expect(() => resolveTrainingConfig(config, 'run.yaml')).toThrow(message);
});
