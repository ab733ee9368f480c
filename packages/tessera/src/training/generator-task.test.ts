import { Draws } from '@tessera/schedule';
import { manualSeed, memoryStats, noGrad, scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import type { TokenRows } from '../data/token-dataset.ts';
import { Enat } from '../models/enat.ts';
import { enatRecipeSchema } from '../models/enat-recipe.ts';
import { initialise } from '../nn/module.ts';
import { createGeneratorTask } from './generator-task.ts';
import type { Shard } from './task.ts';

const CONFIG = {
  gridSize: 4,
  codebookSize: 8,
  numClasses: 2,
  embedDim: 16,
  encoderDepth: 2,
  decoderDepth: 1,
  numHeads: 2,
  mlpRatio: 4,
  tokenDropout: 0,
};

/** Class k is all tokens k. */
const ROWS: TokenRows = {
  numRows: 32,
  seqLen: 16,
  codebookSize: 8,
  classes: ['zero', 'one'],
  rows: (indices) => ({
    tokens: tensor(
      indices.map((i) => new Array<number>(16).fill(i % 2)),
      'int64',
    ),
    labels: tensor(
      indices.map((i) => i % 2),
      'int64',
    ),
  }),
};

function shard(step: number): Shard {
  return {
    step,
    index: 0,
    items: Array.from({ length: 16 }, (_, i) => i),
    draws: (purpose) => new Draws(1, step, 0, purpose),
    dropoutSeed: step,
  };
}

function makeTask(reuseProbability: number) {
  manualSeed(5);
  const model = initialise((p) => new Enat(CONFIG, p)).trainable();
  const recipe = enatRecipeSchema.parse({ reuseProbability, labelDrop: 0 });
  return { model, task: createGeneratorTask({ model, ema: model, data: ROWS, heldOut: ROWS, recipe }) };
}

test('a plain descent learns the classes, with and without reuse', () => {
  for (const reuse of [0, 1]) {
    const { model, task } = makeTask(reuse);
    const losses = Array.from({ length: 120 }, (_, step) =>
      scope(() => {
        const { loss } = task.shardLoss(shard(step));
        loss.backward();
        noGrad(() => {
          for (const parameter of model.parameters.values()) {
            const { grad } = parameter;
            if (grad !== undefined) parameter.sub_(grad.mul(0.5));
          }
        });
        model.clearGradients();
        return loss.item();
      }),
    );
    expect(losses[0]).toBeGreaterThan(1.9); // ln 8 = 2.08
    expect(losses.at(-1)).toBeLessThan(1);
    expect(task.evaluate!().accuracy).toBeGreaterThan(0.9);
    model.dispose();
  }
});

test('the same shard gives the same bits, another step others', () => {
  const { model, task } = makeTask(0.5);
  const lossAt = (step: number): number => noGrad(() => scope(() => task.shardLoss(shard(step)).loss.item()));
  expect(lossAt(3)).toBe(lossAt(3));
  expect(lossAt(3)).not.toBe(lossAt(4));
  const before = memoryStats().liveTensors;
  for (let step = 0; step < 5; step++) lossAt(step);
  expect(memoryStats().liveTensors).toBe(before);
  model.dispose();
});
