/**
 * Networks on a pretended GPU with everything that is given to them: no tensor is left behind on the host, and a step of
 * sampling neither waits for the device nor copies to it.
 */

import { autoregressiveSettings, cosineStrategy, Draws, type Strategy } from '@tessera/schedule';
import { manualSeed, noGrad, scope, Tensor, tensor } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { TokenRows } from '../data/token-dataset.ts';
import { LocalExtractor } from '../metrics/local-extractor.ts';
import type { GeneratorModel } from '../models/family.ts';
import { type FamilyName, familyOf } from '../models/registry.ts';
import { DEVICE_VARIABLE, useDevice } from '../nn/device.ts';
import { initialise } from '../nn/module.ts';
import { clearGpuLog, gpuLog } from '../nn/pretend-gpu.test-support.ts';
import { tokenizerFamily } from '../tokenizers/registry.ts';
import { createGeneratorTask } from '../training/generator-task.ts';
import type { Shard } from '../training/task.ts';
import { createVqTask } from '../training/vq-task.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { imageBatch } from './decode-tokens.ts';
import { MaskedGeneration } from './masked-generation.ts';
import { forgetGraph } from './masked-graph.ts';
import { philoxNoise } from './noise-source.ts';
import { openingsOf } from './openings.ts';
import { generateLabelled, type StartOptions } from './start-generation.ts';

vi.mock('@tessera/torch', async (original) => (await import('../nn/pretend-gpu.test-support.ts')).pretendGpu(original));

const SIZES = {
  gridSize: 4,
  codebookSize: 8,
  numClasses: 2,
  embedDim: 16,
  numHeads: 2,
  mlpRatio: 4,
  tokenDropout: 0.1,
};
const CONFIGS = {
  enat: { ...SIZES, encoderDepth: 2, decoderDepth: 1 },
  autonat: { ...SIZES, depth: 2 },
  gpt: { gridSize: 4, codebookSize: 8, numClasses: 2, embedDim: 32, numHeads: 2, depth: 2, ffnMultipleOf: 8 },
} as const;

const ROWS: TokenRows = {
  numRows: 8,
  seqLen: 16,
  codebookSize: 8,
  classes: ['zero', 'one'],
  rows: (indices) => ({
    tokens: tensor(
      indices.map((i) => new Array<number>(16).fill(i % 8)),
      'int64',
    ),
    labels: tensor(
      indices.map((i) => i % 2),
      'int64',
    ),
  }),
};

const shard = (step: number): Shard => ({
  step,
  index: 0,
  items: [0, 1, 2, 3],
  draws: (purpose) => new Draws(1, step, 0, purpose),
  dropoutSeed: 0,
});

beforeAll(() => {
  manualSeed(0);
  useDevice('cuda');
});
afterAll(() => {
  useDevice('cpu');
  delete process.env[DEVICE_VARIABLE];
});

/** Runs a body that works on the GPU; returns what happened there. */
function onGpuAlone(body: () => void): typeof gpuLog {
  clearGpuLog();
  scope(body);
  expect(gpuLog.mixed).toEqual([]);
  expect(gpuLog.operations).toBeGreaterThan(10);
  return { ...gpuLog };
}

function make<M extends GeneratorModel>(name: FamilyName): M {
  return initialise((p) => familyOf(name).construct(familyOf(name).schema.parse(CONFIGS[name]), p)) as unknown as M;
}

describe.each(['enat', 'autonat'] as const)('%s', (name) => {
  test.each(['plain', 'known tokens', 'fixed order'] as const)('sampling, %s', (kind) => {
    const model = make(name);
    if (model.generation !== 'masked') throw new Error('expected a masked model');
    const plain = cosineStrategy({ numSteps: 4, guidanceScale: 2 });
    const strategy: Strategy = kind === 'fixed order' ? { ...plain, order: 'halton' } : plain;
    const mask = Array.from({ length: 16 }, (_, i) => i % 4 !== 0);
    const start = { tokens: [0, 1, 2].map(() => new Array<number>(16).fill(1)), mask: [mask, mask, mask] };
    const { reads } = onGpuAlone(() => {
      const generation = new MaskedGeneration(model, {
        strategy,
        labels: [0, 1, 2],
        noise: philoxNoise(0, [0, 1, 2]),
        ties: 'report',
        ...(kind === 'known tokens' ? { start } : {}),
      });
      let tokens = generation.step();
      while (!generation.isDone) tokens = generation.step();
      expect([tokens.device, tokens.shape]).toEqual(['cuda:0', [3, 16]]);
      generation.dispose();
    });
    expect(reads).toBe(0);
    model.dispose();
  });

  test('a recorded generation draws the ids of the plain one', () => {
    const model = make(name);
    const strategy = cosineStrategy({ numSteps: 4, guidanceScale: 2 });
    const draw = (first: number, graphs: boolean): number[] => {
      const options = { strategy, labels: [0, 1, 0], seed: 3, first, graphs };
      return scope(() => generateLabelled(model, options).toNumbers());
    };
    const plain = [0, 3, 6].map((first) => draw(first, false));
    expect(new Set(plain.map(String)).size).toBe(3);
    // The first batch is drawn plainly, the second recorded, the third from the recording.
    expect([0, 3, 6].map((first) => draw(first, true))).toEqual(plain);
    clearGpuLog();
    expect(draw(6, true)).toEqual(plain[2]);
    // Labels and images in, tokens out, and for AutoNAT whether there were ties.
    expect([gpuLog.mixed, gpuLog.uploads]).toEqual([[], 2]);
    expect(gpuLog.reads).toBeLessThanOrEqual(2);
    expect(model.companions.size).toBe(1);
    forgetGraph(model);
    expect(model.companions.size).toBe(0);
    model.dispose();
  });
});

test.each(['enat', 'autonat'] as const)(
  '%s: a generation recorded after kept openings draws the ids of the plain one',
  (name) => {
    const model = make(name);
    // As first made, classes make no difference.
    noGrad(() => scope(() => model.parameters.forEach((parameter) => void parameter.add_(parameter.randnLike()))));
    const strategy = cosineStrategy({ numSteps: 4, guidanceScale: 2 });
    const openings = openingsOf(model)!;
    const draw = (labels: number[], how: Pick<StartOptions, 'graphs' | 'openings'>): number[] =>
      scope(() => generateLabelled(model, { strategy, labels, seed: 3, first: 0, ...how }).toNumbers());
    const batches = [
      [0, 1, 0],
      [1, 1, 0],
      [0, 0, 1],
      [1, 0, 1],
    ];
    const plain = batches.map((labels) => draw(labels, { graphs: false }));
    expect(new Set(plain.map(String)).size).toBe(4);
    clearGpuLog();
    expect(batches.map((labels) => draw(labels, { graphs: true, openings }))).toEqual(plain);
    expect(gpuLog.mixed).toEqual([]);
    forgetGraph(model);
    openings.dispose();
    model.dispose();
  },
);

test('gpt: recorded steps draw the ids of the plain ones and of the CPU', () => {
  const model = make<GeneratorModel & { generation: 'autoregressive' }>('gpt');
  noGrad(() => scope(() => void model.state.get('output.weight')!.normal_(0, 0.5)));
  const draw = (how: { graphs: boolean }): number[] =>
    [0, 3].flatMap((first) => {
      const generation = new AutoregressiveGeneration(model, {
        settings: autoregressiveSettings({ guidanceScale: 2, topK: 6, guidedTokens: 9 }),
        noise: philoxTokenNoise(0),
        images: [0, 1, 2].map((i) => first + i),
        condition: (some, guided) => {
          const labels = some.map((image) => image % 2);
          return model.conditionOn(tensor(labels, 'int64'), guided);
        },
        slots: 2,
        ...how,
      });
      const rows = new Map<number, number[]>();
      while (!generation.isDone) {
        for (const { image, tokens } of generation.step()) {
          rows.set(image, tokens.toNumbers());
          tokens.dispose();
        }
      }
      generation.dispose();
      return [...rows].sort(([a], [b]) => a - b).flatMap(([, row]) => row);
    });
  clearGpuLog();
  const plain = draw({ graphs: false });
  expect(new Set(plain).size).toBeGreaterThan(2);
  expect(draw({ graphs: true })).toEqual(plain);
  expect(gpuLog.mixed).toEqual([]);
  forgetGraph(model);
  expect(model.companions.size).toBe(0);
  model.dispose();
});

test.each([false, true])('gpt: generation, as recorded steps: %s', (graphs) => {
  const model = make<GeneratorModel & { generation: 'autoregressive' }>('gpt');
  onGpuAlone(() => {
    const generation = new AutoregressiveGeneration(model, {
      settings: autoregressiveSettings({ guidanceScale: 2, topK: 4, topP: 0.9, guidedTokens: 5 }),
      noise: philoxTokenNoise(0),
      images: [0, 1, 2],
      condition: (some, guided) =>
        model.conditionOn(
          tensor(
            some.map((image) => image % 2),
            'int64',
          ),
          guided,
        ),
      slots: 3,
      graphs,
    });
    for (let step = 0; step < 3; step++) generation.step();
    const before = { ...gpuLog };
    for (let step = 3; step < 15; step++) generation.step();
    // The last step brings the tokens to the host.
    expect(gpuLog.reads - before.reads).toBe(0);
    if (graphs) expect(gpuLog.uploads - before.uploads).toBe(0);
    expect(generation.step().map(({ tokens }) => [tokens.device, tokens.shape])).toEqual(
      [0, 1, 2].map(() => ['cpu', [16]]),
    );
    generation.dispose();
  });
  model.dispose();
});

test.each(['enat', 'autonat', 'gpt'] as const)('%s: losses of several steps and their gradients', (name) => {
  const [model, ema] = [make(name), make(name)];
  model.trainable();
  const task = createGeneratorTask({ model, ema, data: ROWS, recipe: familyOf(name).recipe.parse({}) });
  // ENAT draws per step whether it trains reuse.
  for (let step = 0; step < 4; step++) {
    onGpuAlone(() => {
      const { loss, metrics } = task.shardLoss(shard(step));
      expect([loss.device, loss.shape]).toEqual(['cuda:0', []]);
      for (const value of Object.values(metrics)) if (value instanceof Tensor) expect(value.device).toBe('cuda:0');
      loss.backward();
    });
  }
  expect([...model.parameters.values()].some(({ grad }) => grad?.device === 'cuda:0')).toBe(true);
  model.dispose();
  ema.dispose();
});

const TOKENIZERS = {
  'llamagen-vq': { channels: 8, channelMultipliers: [1, 2], latentChannels: 8, codebookSize: 16, codeDim: 4, encoderResBlocks: 1, decoderResBlocks: 1, groupNormGroups: 2 }, // biome-ignore format: one row
  'maskgit-vqgan': { channels: 8, channelMultipliers: [1, 2], codebookSize: 16, codeDim: 8, resBlocks: 1, groupNormGroups: 2 }, // biome-ignore format: one row
} as const;

describe.each(['llamagen-vq', 'maskgit-vqgan'] as const)('%s', (name) => {
  const config = (): Readonly<Record<string, unknown>> =>
    tokenizerFamily(name).schema.parse(TOKENIZERS[name]) as Readonly<Record<string, unknown>>;

  test('pictures to tokens and back, also where both come from the CPU', () => {
    const tokenizer = initialise((p) => tokenizerFamily(name).construct(config(), p));
    const pixels = new Uint8Array(2 * 8 * 8 * 3);
    noGrad(() =>
      onGpuAlone(() => {
        const tokens = tokenizer.encode(imageBatch({ pixels, size: 8 }, 0, 2));
        const images = tokenizer.decode(tokens);
        expect([tokens.device, images.device, images.shape]).toEqual(['cuda:0', 'cuda:0', [2, 3, 8, 8]]);
        const same = tokenizer.decode(tensor([new Array<number>(tokens.size(1)).fill(0)], 'int64'));
        expect(same.device).toBe('cuda:0');
      }),
    );
    tokenizer.dispose();
  });

  test('training', () => {
    const images = { pixels: new Uint8Array(4 * 8 * 8 * 3), height: 8, width: 8 };
    const recipe = { horizontalFlip: true };
    const task = createVqTask({ family: name, config: config(), images, recipe, seed: 0 });
    task.model.trainable();
    onGpuAlone(() => {
      const { loss, observed } = task.shardLoss(shard(0));
      loss.backward();
      task.observe!(observed!.unsqueeze(0));
      expect([loss.device, observed!.device]).toEqual(['cuda:0', 'cuda:0']);
    });
    task.dispose();
  });
});

test('features take pictures to the network and come back', () => {
  const extractor = initialise((p) => new LocalExtractor(p, 1));
  noGrad(() =>
    onGpuAlone(() => {
      const pictures = tensor([0]).to('uint8').expand([2, 8, 8, 3]).contiguous();
      expect(extractor.features(pictures).device).toBe('cpu');
    }),
  );
  extractor.dispose();
});
