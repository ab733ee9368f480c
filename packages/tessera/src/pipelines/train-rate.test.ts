import { describe, expect, it } from 'vitest';
import { resolveTraining } from './train-settings.ts';

/** 20 steps an epoch. */
const DATA = { gridSize: 4, codebookSize: 16, numClasses: 3, numRows: 1280 };

/** The curve of a small ENAT, whose preset has base 4e-4 and 100 steps of warm-up. */
function curve(flags: object, learningRate?: unknown): object {
  const training = { globalBatch: 64, ...(learningRate === undefined ? {} : { learningRate }) };
  return resolveTraining({ model: 'enat-nano', steps: 1000, ...flags }, { training }, DATA).training.learningRate;
}

describe('the learning rate', () => {
  it.each([
    [{}, undefined, { kind: 'constant', base: 4e-4, warmupSteps: 100 }],
    [{}, { base: 2e-3 }, { kind: 'constant', base: 2e-3, warmupSteps: 100 }],
    [{ learningRate: 1e-3 }, { base: 2e-3, warmupSteps: 7 }, { kind: 'constant', base: 1e-3, warmupSteps: 7 }],
    [
      { lrSchedule: 'cosine' },
      { base: 2e-3, warmupSteps: 7 },
      { kind: 'cosine', base: 2e-3, warmupSteps: 7, totalSteps: 1000 },
    ],
    [
      { lrSchedule: 'cosine' },
      { kind: 'cosine', floorFraction: 0.1, totalSteps: 3 },
      { base: 4e-4, floorFraction: 0.1, totalSteps: 1000 },
    ],
    [{ lrSchedule: 'constant' }, { kind: 'cosine', base: 2e-3, floorFraction: 0.1 }, { kind: 'constant', base: 2e-3 }],
    [{ lrSchedule: 'npp' }, { base: 2e-3 }, { kind: 'stages', base: 2e-3, end: 2e-4, warmupSteps: 0, decayRatio: 0.2 }],
    [
      { lrSchedule: 'npp', endLr: 1e-5 },
      { kind: 'stages', end: 1e-6, decayRatio: 0.5 },
      { end: 1e-5, decayRatio: 0.5, boundaries: [1000] },
    ],
    [
      { decayRatio: 0.4 },
      { kind: 'stages', end: 1e-6, boundaries: [500, 1000] },
      { kind: 'stages', end: 1e-6, decayRatio: 0.4, boundaries: [500, 1000] },
    ],
    [{ warmupEpochs: 2 }, { warmupSteps: 7 }, { kind: 'constant', warmupSteps: 40 }],
    [{ warmupEpochs: 0.33, lrSchedule: 'cosine' }, undefined, { kind: 'cosine', warmupSteps: 7 }],
    [{ exactOriginal: true, lrSchedule: 'constant' }, undefined, { kind: 'constant', exactOriginal: true }],
    [{ exactOriginal: true }, { warmupSteps: 7 }, { kind: 'constant', warmupSteps: 7, exactOriginal: true }],
    [{ exactOriginal: true, lrSchedule: 'cosine' }, undefined, { kind: 'cosine', warmupSteps: 100 }],
  ])('of %j above the file %j', (flags, file, expected) => {
    expect(curve(flags, file)).toMatchObject(expected);
  });

  it.each([
    [{ endLr: 1e-5 }, undefined, /--end-lr is of the decay of --lr-schedule npp/],
    [{ decayRatio: 0.1, lrSchedule: 'cosine' }, undefined, /--decay-ratio is of the decay/],
    [{ warmupEpochs: 1, warmupSteps: 5 }, undefined, /one of --warmup-steps and --warmup-epochs/],
    [{}, 1e-3, /training.learningRate: expected a curve .* got 0.001/],
    [{}, { base: 'fast' }, /training.learningRate.base: expected a number, got "fast"/],
    [{ lrSchedule: 'constant' }, { bas: 1e-3 }, /did you mean "base"/],
  ])('refuses %j above the file %j', (flags, file, message) => {
    expect(() => curve(flags, file)).toThrow(message);
  });
});
