import {
  autonatInitialStrategy,
  autonatSearched8,
  autoregressiveSettings,
  cosineStrategy,
  enatStrategy,
  fromAutonatYaml,
  maskCounts,
  type Strategy,
} from '@tessera/schedule';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { autoregressiveSpace } from './autoregressive-space.ts';
import { fullSchedule, resolveBounds } from './parametrisation.ts';
import { monotoneCubic, smoothSchedule } from './smooth-schedule.ts';
import { fromPoint, listsOf, officialLists, resample, searchFrame, strategyOf, toPoint } from './variables.ts';

const frame = searchFrame('confidence');
const bounds = resolveBounds();

describe('lists of a strategy', () => {
  it('come back from the point, and from the official file', () => {
    const lists = listsOf(autonatSearched8(), 256);
    expect(fromPoint(toPoint(lists), 8)).toEqual(lists);
    const read = fromAutonatYaml(officialLists(lists));
    expect(read.steps).toEqual(autonatSearched8().steps);
    expect(maskCounts(read, 256)).toEqual(maskCounts(strategyOf(lists, frame), 256));
  });

  it('keep the counts of strategies that give counts', () => {
    const counted: Strategy = {
      ...cosineStrategy({ numSteps: 4 }),
      steps: [15, 9, 4, 0].map((maskCount) => ({
        maskCount,
        sampleTemperature: 1,
        choiceTemperature: 1,
        guidanceScale: 1,
      })),
    };
    expect(maskCounts(strategyOf(listsOf(counted, 16), frame), 16).maskedIn).toEqual([16, 15, 9, 4]);
  });

  it('refuse a number of values that is not 4T − 2', () => {
    expect(() => fromPoint([1, 2, 3], 2)).toThrow('Expected 4T − 2 = 6 numbers for a strategy of 2 steps, got 3');
    const lists = { ...listsOf(autonatInitialStrategy(4), 16), ratios: [0.5] };
    expect(() => strategyOf(lists, frame)).toThrow('Expected 3 values in ratios of a strategy of 4 steps, got 1');
  });

  it('stretch to another number of steps', () => {
    const four = listsOf(autonatInitialStrategy(4), 256);
    const eight = resample(four, 8);
    expect(toPoint(eight)).toHaveLength(30);
    expect(eight.ratios.filter((_, i) => i % 2 === 1)).toEqual(four.ratios);
    expect([eight.guidance[0], eight.guidance[7]]).toEqual([four.guidance[0], four.guidance[3]]);
    expect(resample(four, 1)).toMatchObject({ ratios: [], sampleTemperatures: [1] });
    expect(resample(resample(four, 1), 3).choiceTemperatures).toHaveLength(2);
  });
});

describe('fullSchedule', () => {
  it('is the original 4T − 2 numbers and its start', () => {
    const { space, settings } = fullSchedule(listsOf(autonatInitialStrategy(8), 256), frame, bounds);
    expect(space.start).toHaveLength(30);
    expect(space.names.slice(6, 8)).toEqual(['ratios[6]', 'choiceTemperatures[0]']);
    expect((settings(space.start) as Strategy).steps).toEqual(autonatInitialStrategy(8).steps);
  });

  it('brings a start within the bounds', () => {
    const lists = listsOf(enatStrategy({ numSteps: 4 }), 64);
    const { space } = fullSchedule(lists, frame, bounds);
    expect(Math.min(...space.start)).toBe(1e-4);
  });

  it('gives visible tokens that stay visible, and a new one each step while there are any, whatever the point', () => {
    const { space, settings } = fullSchedule(listsOf(autonatInitialStrategy(6), 16), frame, bounds);
    const point = fc.tuple(...space.lower.map((low, i) => fc.double({ min: low, max: space.upper[i]!, noNaN: true })));
    fc.assert(
      fc.property(point, (x) => {
        const { maskedIn, newlyFixed } = maskCounts(settings(x) as Strategy, 16);
        // The last token waits for the last step.
        expect(
          maskedIn.every((count, i) => i === 0 || count === Math.max(1, Math.min(count, maskedIn[i - 1]! - 1))),
        ).toBe(true);
        expect(newlyFixed.reduce((a, b) => a + b)).toBe(16);
      }),
      { numRuns: 50 },
    );
  });
});

describe('resolveBounds', () => {
  it.each([
    [{ ratios: [0.2, 1.5] as const }, 'bounds of ratios with 0 ≤ low ≤ high ≤ 1, got 0.2 and 1.5'],
    [{ guidance: [3, 1] as const }, 'bounds of guidance with -1 ≤ low ≤ high ≤ 100000, got 3 and 1'],
    [{ sampleTemperatures: [-1, 2] as const }, 'bounds of sampleTemperatures'],
    [{ choiceTemperatures: [Number.NaN, 2] as const }, 'got NaN and 2'],
  ])('refuses %j', (changes, message) => {
    expect(() => resolveBounds(changes)).toThrow(message);
  });
});

describe('smoothSchedule', () => {
  it('begins at the cosine schedule exactly, whatever the steps', () => {
    const start = listsOf(autonatInitialStrategy(8), 256);
    const { space, lists } = smoothSchedule(start, frame, bounds, { numSteps: 8, knots: 3 });
    expect(space.start).toHaveLength(12);
    expect(space.start.slice(0, 3)).toEqual([0, 0, 0].map((z) => expect.closeTo(z, 9)));
    const made = lists(space.start)!;
    expect(made.ratios).toEqual(start.ratios.map((ratio) => expect.closeTo(ratio, 9)));
    expect(made.guidance).toEqual(start.guidance.map((w) => expect.closeTo(w, 9)));
    const twelve = smoothSchedule(start, frame, bounds, { numSteps: 12, knots: 3 });
    expect(twelve.lists(twelve.space.start)!.ratios[5]).toBeCloseTo(Math.cos(Math.PI / 4), 9);
  });

  it('always falls, and stays within the bounds', () => {
    const start = listsOf(autonatSearched8(), 256);
    const { space, lists } = smoothSchedule(start, frame, bounds, { numSteps: 8 });
    const point = fc.tuple(...space.lower.map((low, i) => fc.double({ min: low, max: space.upper[i]!, noNaN: true })));
    fc.assert(
      fc.property(point, (x) => {
        const { ratios, sampleTemperatures, guidance } = lists(x)!;
        expect(ratios.every((ratio, i) => ratio >= 0 && ratio <= (ratios[i - 1] ?? 0.99))).toBe(true);
        expect(Math.min(...sampleTemperatures, ...guidance)).toBeGreaterThanOrEqual(1e-4 - 1e-12);
        expect(Math.max(...sampleTemperatures)).toBeLessThanOrEqual(10 + 1e-9);
      }),
      { numRuns: 100 },
    );
  });

  it('refuses more knots than steps', () => {
    const start = listsOf(autonatInitialStrategy(4), 64);
    expect(() => smoothSchedule(start, frame, bounds, { numSteps: 4, knots: 5 })).toThrow('Expected 1 to 4 knots');
  });
});

describe('monotoneCubic', () => {
  it('passes through its knots and does not overshoot a step', () => {
    const knots = [0, 0, 1, 1];
    expect([0, 1 / 3, 2 / 3, 1].map((x) => monotoneCubic(knots, x))).toEqual(
      [0, 0, 1, 1].map((y) => expect.closeTo(y, 12)),
    );
    for (let x = 0; x <= 1; x += 0.01) expect(monotoneCubic(knots, x)).toBeGreaterThanOrEqual(0);
    expect(monotoneCubic(knots, 0.5)).toBeCloseTo(0.5, 12);
    expect(monotoneCubic([3], 0.2)).toBe(3);
  });
});

describe('autoregressiveSpace', () => {
  const sizes = { seqLen: 64, codebookSize: 256 };

  it('begins at the settings given', () => {
    const start = autoregressiveSettings({
      guidanceScale: 3,
      temperature: 0.9,
      topK: 64,
      topP: 0.95,
      guidedTokens: 16,
    });
    const { space, settings } = autoregressiveSpace(start, sizes);
    expect(settings(space.start)).toEqual(start);
    const plain = autoregressiveSpace(autoregressiveSettings(), sizes);
    expect(plain.settings(plain.space.start)).toEqual(autoregressiveSettings());
  });

  it('refuses a greedy start and bounds beyond the codebook', () => {
    expect(() => autoregressiveSpace(autoregressiveSettings({ greedy: true }), sizes)).toThrow('greedy');
    expect(() => autoregressiveSpace(autoregressiveSettings(), sizes, { log2TopK: [0, 9] })).toThrow(
      'log2TopK within 0 and 8',
    );
  });
});
