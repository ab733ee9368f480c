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

function makeTask(
  family: FamilyName,
  recipe: object = {},
  options: { recompute?: boolean; precision?: 'bf16' | 'fp16' | undefined; config?: object } = {},
) {
  manualSeed(5);
  const { config = {}, ...how } = options;
  const row = familyOf(family);
  const sizes = row.schema.parse({ ...CONFIGS[family], tokenDropout: 0, ...config });
  const model = initialise((p) => row.construct(sizes, p)).trainable();
  const all = { model, ema: model, data: ROWS, heldOut: ROWS, ...how };
  return { model, task: createGeneratorTask({ ...all, recipe: row.recipe.parse({ labelDrop: 0, ...recipe }) }) };
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

type How = NonNullable<Parameters<typeof makeTask>[2]>;

/** Loss and gradients of one shard, scaled as an accumulating loop scales them, on top of gradients from before. */
function gradients(family: FamilyName, how: How): { loss: number; grads: Map<string, number[] | undefined> } {
  // GPT's blocks draw from the generator, which is seeded another way when they are to run again.
  const config = { tokenDropout: 0.1, ...(family === 'gpt' && { residualDropout: 0, ffnDropout: 0 }) };
  const recipe = { labelDrop: 0.3, ...(family === 'enat' && { reuseProbability: 1 }) };
  const { model, task } = makeTask(family, recipe, { config, ...how });
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

test.each(['enat', 'autonat', 'gpt'] as const)('%s: recomputing blocks gives the same loss and gradients', (family) => {
  const before = memoryStats().liveTensors;
  const [plain, again] = [gradients(family, {}), gradients(family, { recompute: true })];
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

test("a GPT's blocks draw the same dropout when they run again: the gradient is the loss's own", () => {
  const config = { residualDropout: 0.3, ffnDropout: 0.3 };
  const { model, task } = makeTask('gpt', {}, { recompute: true, config });
  moved(model);
  const parameter = model.parameters.get('layers.0.feed_forward.w1.weight')!;
  const lossOf = () => {
    manualSeed(9);
    return task.shardLoss(shard(2)).loss;
  };
  scope(() => {
    lossOf().backward();
    const direction = parameter.grad!.clone();
    const norm = direction.square().sum().sqrt().item();
    const shifted = (amount: number): number => {
      noGrad(() => parameter.add_(direction.mul(amount / norm)));
      const loss = lossOf().item();
      noGrad(() => parameter.sub_(direction.mul(amount / norm)));
      return loss;
    };
    const step = 0.02;
    const slope = (shifted(step) - shifted(-step)) / (2 * step);
    expect(Math.abs(slope - norm)).toBeLessThan(0.03 * norm);
    expect(norm).toBeGreaterThan(1e-3);
  });
  model.dispose();
});

test.each([
  ['enat', 'bf16'],
  ['autonat', 'bf16'],
  ['gpt', 'bf16'],
  ['enat', 'fp16'],
  ['autonat', 'fp16'],
  ['gpt', 'fp16'],
] as const)('%s: %s is close to float32, recomputed or not', (family, precision) => {
  const [plain, half] = [gradients(family, {}), gradients(family, { precision })];
  expect(half.loss).not.toBe(plain.loss);
  expect(Math.abs(half.loss - plain.loss)).toBeLessThan(0.02 * plain.loss);
  const again = gradients(family, { precision, recompute: true });
  expect(Math.abs(again.loss - half.loss)).toBeLessThan(1e-6 * half.loss);
  const norms = [plain, half, again].map(({ grads }) =>
    Math.sqrt([...grads.values()].reduce((sum, values) => sum + (values ?? []).reduce((s, v) => s + v * v, 0), 0)),
  );
  expect(Math.abs(norms[1]! - norms[0]!)).toBeLessThan(0.05 * norms[0]!);
  expect(Math.abs(norms[2]! - norms[1]!)).toBeLessThan(0.01 * norms[1]!);
});

test('a recomputed loss goes back with the scale it is told, which is no part of its gradient', () => {
  const gradientsAt = (lossScale: number | undefined): number[] => {
    const { model, task } = makeTask('gpt', {}, { recompute: true });
    const all = scope(() => {
      task.shardLoss({ ...shard(2), lossScale }).loss.backward();
      return [...model.parameters.values()].flatMap(({ grad }) => grad?.toNumbers() ?? []);
    });
    model.dispose();
    return all;
  };
  const plain = gradientsAt(undefined);
  expect(gradientsAt(65536)).toEqual(plain);
  // A scale beyond float32 overflows on the way.
  expect(gradientsAt(1e39).some(Number.isNaN)).toBe(true);
});

test('measurements take rows of all classes where rows lie class by class', () => {
  const { model } = makeTask('enat');
  const seen: number[] = [];
  const heldOut: TokenRows = {
    ...ROWS,
    numRows: 1000,
    rows: (indices) => {
      seen.push(...indices);
      return ROWS.rows(indices, undefined);
    },
  };
  const recipe = familyOf('enat').recipe.parse({});
  createGeneratorTask({ model, ema: model, data: ROWS, heldOut, recipe }).evaluate!();
  expect(seen).toEqual(Array.from({ length: 256 }, (_, i) => Math.floor((i * 1000) / 256)));
  model.dispose();
});
