import { expect, test } from 'vitest';
import { describeStages, resolveSchedule } from './train-schedule.ts';

const BASE = { globalBatch: 10, learningRate: 1e-3 };

test('epochs give whole epochs, stages and warm-up as the original', () => {
  const { totalSteps, stages, learningRate } = resolveSchedule(
    { ...BASE, epochs: 7, patchLevel: 3, lrSchedule: 'npp' },
    205,
  );
  expect(totalSteps).toBe(140);
  expect(stages).toEqual([
    { patchSide: 4, end: 20 },
    { patchSide: 2, end: 60 },
    { patchSide: 1, end: 140 },
  ]);
  expect(learningRate).toMatchObject({
    kind: 'stages',
    warmupSteps: 20,
    boundaries: [20, 60, 140],
    exactOriginal: true,
  });
});

test('steps and images divide at any step', () => {
  expect(resolveSchedule({ ...BASE, steps: 30, patchLevel: 2 }, 5).stages.map(({ end }) => end)).toEqual([15, 30]);
  expect(resolveSchedule({ ...BASE, images: 309, patchLevel: 2, epochRate: 0.9 }, 5)).toMatchObject({
    totalSteps: 30,
    stages: [
      { patchSide: 2, end: 27 },
      { patchSide: 1, end: 30 },
    ],
  });
});

test('a part of an epoch of warm-up is a whole number of steps', () => {
  const { learningRate } = resolveSchedule({ ...BASE, steps: 30, warmupEpochs: 0.3 }, 205);
  expect(learningRate).toMatchObject({ warmupSteps: 6 });
});

test('one line says which stages run', () => {
  const { stages } = resolveSchedule({ ...BASE, epochs: 1, patchLevel: 3 }, 100);
  expect(describeStages(stages)).toBe('patches of 1x1 tokens to step 10');
});

test.each([
  [{ steps: 3, epochs: 1 }, /one of steps, epochs and images/],
  [{ images: 9 }, /at least one step of 10 images/],
  [{ epochs: 1, globalBatch: 1000 }, /fewer than one step/],
  [{ steps: 3, patchLevel: 9 }, /patchLevel/],
])('refuses %j', (choice, message) => {
  expect(() => resolveSchedule({ ...BASE, ...choice }, 100)).toThrow(message);
});
