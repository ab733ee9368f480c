// Ten thousand steps of each loop that runs for long leave memory flat: training (forward, backward, AdamW, EMA), sampling
// (whole generations) and evaluation (a tokenizer's reconstruction of held-out images, and the generator's measurement).
// Tensors are counted exactly; resident memory, without JavaScript's heap, may grow by 16 MiB after warming up: a leak of
// 2.1 KB a step would show.
import { Draws, enatStrategy } from '@tessera/schedule';
import { manualSeed, memoryStats, noGrad, rand, scope, setNumThreads, tensor } from '@tessera/torch';
import {
  AdamW,
  createGeneratorTask,
  Ema,
  Enat,
  familyOf,
  generateTokens,
  initialise,
  LlamaGenVq,
  philoxNoise,
  type Shard,
  vqPreset,
} from 'tessera';
import { expect, test } from 'vitest';

const STEPS = 10_000;
const WARM_UP = 2_000;
const MEBIBYTE = 2 ** 20;
const ALLOWED = 16 * MEBIBYTE;

const CONFIG = { gridSize: 2, codebookSize: 8, numClasses: 2, embedDim: 8, encoderDepth: 1, decoderDepth: 1 };
const enat = () => initialise((p) => new Enat({ ...CONFIG, numHeads: 1, mlpRatio: 2, tokenDropout: 0 }, p));

const ROWS = {
  numRows: 8,
  seqLen: 4,
  codebookSize: 8,
  classes: ['zero', 'one'],
  rows: (indices: readonly number[]) => ({
    tokens: tensor(
      indices.map((i) => [i % 8, (i + 1) % 8, (i + 2) % 8, (i + 3) % 8]),
      'int64',
    ),
    labels: tensor(
      indices.map((i) => i % 2),
      'int64',
    ),
  }),
};

/** Runs the steps; both kinds of memory at the end must be what they were after warming up. */
function expectFlat(step: (k: number) => void): void {
  const mark = () => {
    const { rss, heapTotal } = process.memoryUsage();
    return { live: memoryStats(), resident: rss - heapTotal };
  };
  let warm = mark();
  for (let k = 1; k <= STEPS; k++) {
    step(k);
    if (k === WARM_UP) warm = mark();
  }
  const end = mark();
  expect(end.live).toEqual(warm.live);
  expect(end.resident - warm.resident).toBeLessThan(ALLOWED);
}

setNumThreads(1);

test('training', { timeout: 1_200_000 }, () => {
  manualSeed(1);
  const [model, ema] = [enat().trainable(), enat()];
  ema.copyFrom(model);
  const task = createGeneratorTask({
    model,
    ema,
    data: ROWS,
    heldOut: ROWS,
    recipe: familyOf(model).recipe.parse({}),
  });
  const optimizer = new AdamW(model.parameters, { weightDecay: 0.01 });
  const average = new Ema(ema.state, model);
  const losses: number[] = [];
  expectFlat((k) => {
    const shard: Shard = {
      step: k,
      index: 0,
      items: [0, 1, 2, 3, 4, 5, 6, 7],
      draws: (purpose) => new Draws(1, k, 0, purpose),
      dropoutSeed: k,
    };
    losses.push(
      scope(() => {
        const { loss } = task.shardLoss(shard);
        loss.backward();
        return loss.item();
      }),
    );
    optimizer.step(1e-3);
    model.clearGradients();
    average.update(0.99);
  });
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean(losses.slice(-100))).toBeLessThan(mean(losses.slice(0, 100)) * 0.8);
  optimizer.dispose();
  for (const module of [model, ema]) module.dispose();
  expect(memoryStats().liveTensors).toBe(0);
});

test('sampling', { timeout: 1_200_000 }, () => {
  manualSeed(2);
  const model = enat();
  const strategy = enatStrategy({ numSteps: 2, guidanceScale: 2, choiceTemperature: 1, sampleTemperature: 1 });
  const seen = new Set<number>();
  expectFlat((k) => {
    scope(() => {
      const tokens = generateTokens(model, { strategy, labels: [k % 2], noise: philoxNoise(3, [k]) });
      for (const token of tokens.toNumbers()) seen.add(token);
    });
  });
  expect(seen.size).toBe(8);
  model.dispose();
  expect(memoryStats().liveTensors).toBe(0);
});

test('evaluation', { timeout: 1_200_000 }, () => {
  manualSeed(3);
  const sizes = { channels: 4, channelMultipliers: [1], latentChannels: 4, codebookSize: 8, codeDim: 2 };
  const config = vqPreset('vq-small', { ...sizes, encoderResBlocks: 1, decoderResBlocks: 1, groupNormGroups: 2 });
  const tokenizer = initialise((p) => new LlamaGenVq(config, p));
  const generator = enat();
  const task = createGeneratorTask({
    model: generator,
    ema: generator,
    data: ROWS,
    heldOut: ROWS,
    recipe: familyOf(generator).recipe.parse({}),
  });
  let error = 0;
  expectFlat((k) => {
    error += noGrad(() =>
      scope(() => {
        const images = rand([1, 3, 4, 4]);
        const again = tokenizer.decode(tokenizer.encode(images));
        if (k % 10 === 0) task.evaluate!();
        return again.sub(images).square().mean().item();
      }),
    );
  });
  expect(Number.isFinite(error)).toBe(true);
  for (const module of [tokenizer, generator]) module.dispose();
  expect(memoryStats().liveTensors).toBe(0);
});
