import { Draws } from '@tessera/schedule';
import { manualSeed, memoryStats, noGrad, scope, setNumThreads, tensor } from '@tessera/torch';
import { beforeAll, expect, test } from 'vitest';
import type { TokenRows } from '../data/token-dataset.ts';
import { type FamilyName, familyOf } from '../models/registry.ts';
import { initialise, type Module } from '../nn/module.ts';
import { createGeneratorTask } from './generator-task.ts';
import type { Shard } from './task.ts';

const SIZES = {
  gridSize: 4,
  codebookSize: 8,
  numClasses: 2,
  embedDim: 16,
  numHeads: 2,
  mlpRatio: 4,
  tokenDropout: 0,
};
const CONFIGS = {
  enat: { ...SIZES, encoderDepth: 2, decoderDepth: 1 },
  autonat: { ...SIZES, depth: 2 },
  gpt: { gridSize: 4, codebookSize: 8, numClasses: 2, embedDim: 32, numHeads: 2, depth: 2, ffnMultipleOf: 8 },
} as const;

beforeAll(() => setNumThreads(1));

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

function makeTask(family: FamilyName, recipe: object = {}, recompute = false, tokenDropout = 0) {
  manualSeed(5);
  const row = familyOf(family);
  const model = initialise((p) => row.construct(row.schema.parse({ ...CONFIGS[family], tokenDropout }), p)).trainable();
  const options = { model, ema: model, data: ROWS, heldOut: ROWS, recompute };
  return { model, task: createGeneratorTask({ ...options, recipe: row.recipe.parse({ labelDrop: 0, ...recipe }) }) };
}

test.each([
  ['enat', { reuseProbability: 0 }, 0.5],
  ['enat', { reuseProbability: 1 }, 0.5],
  ['autonat', {}, 0.5],
  ['gpt', {}, 0.5],
  [
    'gpt',
    {
      stages: [
        { patchSide: 2, end: 50 },
        { patchSide: 1, end: 100 },
      ],
    },
    0.5,
  ],
] as const)('a plain descent learns the classes: %s %j', (family, recipe, rate) => {
  const { model, task } = makeTask(family, recipe);
  // AutoNAT starts so near to nothing that plain descent is slow to find the classes.
  if (family === 'autonat') moved(model);
  const losses = Array.from({ length: 100 }, (_, step) =>
    scope(() => {
      const { loss } = task.shardLoss(shard(step));
      loss.backward();
      noGrad(() => {
        for (const parameter of model.parameters.values()) {
          const { grad } = parameter;
          if (grad !== undefined) parameter.sub_(grad.mul(rate));
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
});

test.each(['enat', 'autonat'] as const)('%s: the same shard gives the same bits, another step others', (family) => {
  const { model, task } = makeTask(family);
  const lossAt = (step: number): number => noGrad(() => scope(() => task.shardLoss(shard(step)).loss.item()));
  expect(lossAt(3)).toBe(lossAt(3));
  expect(lossAt(3)).not.toBe(lossAt(4));
  const before = memoryStats().liveTensors;
  for (let step = 0; step < 5; step++) lossAt(step);
  expect(memoryStats().liveTensors).toBe(before);
  model.dispose();
});

function moved(model: Module): void {
  noGrad(() =>
    scope(() => {
      for (const tensor of model.parameters.values()) tensor.add_(tensor.randnLike().mul(0.1));
    }),
  );
}

/** Loss and gradients of one shard, scaled as an accumulating loop scales them, on top of gradients from before. */
function gradients(family: FamilyName, recompute: boolean): { loss: number; grads: Map<string, number[] | undefined> } {
  const { model, task } = makeTask(
    family,
    { labelDrop: 0.3, ...(family === 'enat' && { reuseProbability: 1 }) },
    recompute,
    0.1,
  );
  // The official initialisation closes ENAT's gates; open them, so that every path matters.
  moved(model);
  const grads = new Map<string, number[] | undefined>();
  const loss = scope(() => {
    [...model.parameters.values()][0]!.mul(2).sum().backward();
    manualSeed(9);
    const result = task.shardLoss(shard(2)).loss;
    result.div(4).backward();
    for (const [name, { grad }] of model.parameters) grads.set(name, grad?.toNumbers());
    return result.item();
  });
  model.dispose();
  return { loss, grads };
}

test.each(['enat', 'autonat'] as const)('%s: recomputing blocks gives the same loss and gradients', (family) => {
  const before = memoryStats().liveTensors;
  const [plain, again] = [gradients(family, false), gradients(family, true)];
  expect(again.loss).toBeCloseTo(plain.loss, 6);
  let largest = 0;
  for (const [name, values] of plain.grads) {
    const other = again.grads.get(name);
    expect(other === undefined).toBe(values === undefined);
    for (const [i, value] of (values ?? []).entries()) {
      largest = Math.max(largest, Math.abs(value));
      expect(Math.abs(other![i]! - value)).toBeLessThan(1e-6 + 1e-4 * Math.abs(value));
    }
  }
  expect(largest).toBeGreaterThan(1e-2);
  expect(memoryStats().liveTensors).toBe(before);
});
