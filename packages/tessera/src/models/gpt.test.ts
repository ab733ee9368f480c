import { cat, listen, manualSeed, memoryStats, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { initialise } from '../nn/module.ts';
import { Gpt } from './gpt.ts';
import { type GptConfigInput, gptConfigSchema } from './gpt-config.ts';
import { gptLoss } from './gpt-loss.ts';
import { ropeRows } from './gpt-rope.ts';
import { parameterShapes } from './parameter-shapes.ts';
import { type ModelPreset, modelPreset } from './presets.ts';

const SIZES = { gridSize: 8, codebookSize: 64, numClasses: 3, embedDim: 32, depth: 2, numHeads: 4, ffnMultipleOf: 8 };

function gpt(changes: Partial<GptConfigInput> = {}): Gpt {
  manualSeed(3);
  const config = gptConfigSchema.parse({ ...SIZES, ...changes });
  const model = initialise((p) => new Gpt(config, p));
  noGrad(() => scope(() => model.state.get('output.weight')!.normal_(0, 0.3)));
  return model;
}

function tokensOf(model: Gpt, batch: number): Tensor {
  const count = batch * model.seqLen;
  return tensor(
    Array.from({ length: count }, (_, i) => (i * 7) % 64),
    'int64',
  ).view([batch, model.seqLen]);
}

test.each([
  ['gpt-b', 110_888_448],
  ['gpt-l', 342_910_976],
  ['gpt-xl', 774_699_520],
  ['gpt-xxl', 1_410_972_672],
  ['gpt-xxxl', 3_893_027_840],
  ['gpt-1b', 1_199_616_000],
  ['gpt-3b', 3_096_659_200],
  ['gpt-7b', 6_614_589_440],
] as [ModelPreset, number][])('%s has the published number of parameters', (name, count) => {
  const { config } = modelPreset(name);
  const parsed = gptConfigSchema.parse(config);
  expect(parameterShapes((p) => new Gpt(parsed, p)).numParameters).toBe(count);
});

test('a fresh model knows nothing: the first loss is ln V at every level', () => {
  const config = gptConfigSchema.parse(SIZES);
  const model = initialise((p) => new Gpt(config, p));
  scope(() => {
    const condition = model.embedClasses(tensor([0, 1], 'int64'));
    for (const patchSide of [1, 2, 4, 8]) {
      const { loss } = gptLoss(model, { tokens: tokensOf(model, 2), condition, patchSide });
      expect(loss.item()).toBeCloseTo(Math.log(64), 5);
    }
  });
  model.dispose();
});

test.each([
  ['heads of their own', {}],
  ['grouped heads', { numKvHeads: 2 }],
])('%s: a session gives step by step what one pass over all gives', (_, changes) => {
  const model = gpt(changes);
  const before = memoryStats().liveTensors;
  noGrad(() =>
    scope(() => {
      const tokens = tokensOf(model, 2);
      const { embedded } = model.conditionOn(tensor([0, 2], 'int64'), false);
      const x = embedded.narrow(1, 0, 1);
      const rope = model.rope();
      const length = 6;
      const seen = model.embedTokens(tokens.narrow(1, 0, length - 1));
      const whole = model.head(model.forward({ x: cat([x, seen], 1), rope: ropeRows(rope, 0, length) }));
      const session = model.startSession({ rows: 2, maxTokens: length });
      const steps = [session.begin([0, 1], { embedded, visible: undefined })];
      for (let i = 0; i < length - 1; i++) steps.push(session.step(tokens.select(1, i)));
      for (const [i, logits] of steps.entries()) {
        expect(logits.sub(whole.select(1, i)).abs().amax().item()).toBeLessThan(1e-4);
      }
      expect(() => session.step(tokens.select(1, 0))).toThrow(/row 0 is complete/);
      session.dispose();
    }),
  );
  // The table of positions is the model's, made on first use.
  expect(memoryStats().liveTensors).toBe(before + 2);
  model.dispose();
});

test('weights of a byte move the logits by a few hundredths of their spread, and the float ones can go', () => {
  const model = gpt({ numKvHeads: 2 });
  noGrad(() => scope(() => model.state.get('output.weight')!.normal_(0, 0.3)));
  const run = (): Tensor[] => {
    const session = model.startSession({ rows: 2, maxTokens: 5 });
    const tokens = tokensOf(model, 2);
    const logits = [session.begin([0, 1], model.conditionOn(tensor([0, 2], 'int64'), false))];
    for (let i = 0; i < 4; i++) logits.push(session.step(tokens.select(1, i)));
    session.dispose();
    return logits;
  };
  noGrad(() =>
    scope(() => {
      const float = run();
      const before = memoryStats().liveBytes;
      model.quantize({ release: true });
      expect(memoryStats().liveBytes).toBeLessThan(before);
      for (const [i, logits] of run().entries()) {
        const error = logits.sub(float[i]!).abs().amax().item();
        expect(error).toBeGreaterThan(0);
        expect(error).toBeLessThan(0.1 * float[i]!.std().item());
      }
    }),
  );
  model.dispose();
});

test('the cache holds two numbers a channel of each position that is ever fed', () => {
  const model = gpt({ numKvHeads: 2 });
  const session = model.startSession({ rows: 6 });
  // keys and values, blocks, rows, heads, 1 + 64 - 1 positions, channels, bytes
  expect(session.cacheBytes).toBe(2 * 2 * 6 * 2 * 64 * 8 * 4);
  session.dispose();
  model.dispose();
});

test('the memory of a coarse stage falls with its sequence', () => {
  const model = gpt({ codebookSize: 512 }).trainable();
  const peak = (patchSide: number): number => {
    let most = 0;
    const start = memoryStats().liveBytes;
    scope(() => {
      const stop = listen(() => {
        most = Math.max(most, memoryStats().liveBytes - start);
      });
      const condition = model.embedClasses(tensor([0, 1, 2, 0], 'int64'));
      gptLoss(model, { tokens: tokensOf(model, 4), condition, patchSide }).loss.backward();
      stop();
    });
    model.clearGradients();
    return most;
  };
  const [fine, coarse] = [peak(1), peak(4)];
  // A sixteenth of the positions; the embeddings of all tokens and the weights' share stay.
  expect(coarse).toBeLessThan(fine / 5);
  model.dispose();
});

test('a patch side that does not divide the grid is refused', () => {
  const model = gpt();
  scope(() => {
    const condition = model.embedClasses(tensor([0], 'int64'));
    expect(() => gptLoss(model, { tokens: tokensOf(model, 1), condition, patchSide: 3 })).toThrow(
      'Expected a patch side that divides the 8x8 grid, got 3',
    );
  });
  model.dispose();
});

test.each([
  [{ embedDim: 30 }, /multiple of 4 · numHeads/],
  [{ numKvHeads: 3 }, /divisor of numHeads 4/],
  [{ depht: 2 }, /did you mean \\?"depth\\?"/],
])('refuses %j', (changes, message) => {
  expect(() => gptConfigSchema.parse({ ...SIZES, ...changes })).toThrow(message);
});
