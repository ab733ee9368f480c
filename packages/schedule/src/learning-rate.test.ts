import { describe, expect, it } from 'vitest';
import { learningRateAt, learningRateSchema } from './learning-rate.ts';

const at = (curve: unknown, steps: number[]) => {
  const parsed = learningRateSchema.parse(curve);
  return steps.map((step) => learningRateAt(parsed, step));
};

describe('learningRateAt', () => {
  it('warms up, then stays', () => {
    expect(at({ kind: 'constant', base: 0.5, warmupSteps: 4 }, [0, 1, 2, 3, 4, 1e9])).toEqual([
      0.125, 0.25, 0.375, 0.5, 0.5, 0.5,
    ]);
    expect(at({ kind: 'constant', base: 0.5 }, [0, 1])).toEqual([0.5, 0.5]);
  });

  it('repeats the two zero steps of the original trainers on request', () => {
    const curve = { kind: 'constant', base: 0.5, warmupSteps: 4, exactOriginal: true };
    expect(at(curve, [0, 1, 2, 3, 4, 5, 6])).toEqual([0, 0, 0.125, 0.25, 0.375, 0.5, 0.5]);
  });

  it('follows half a cosine to the floor', () => {
    const curve = { kind: 'cosine', base: 2, warmupSteps: 2, totalSteps: 10, floorFraction: 0.1 };
    const [first, top, start, quarter, half, end, past] = at(curve, [0, 1, 2, 4, 6, 10, 1e6]);
    expect([first, top, start]).toEqual([1, 2, 2]);
    expect(quarter).toBeCloseTo(0.2 + 1.8 * 0.5 * (1 + Math.SQRT1_2), 12);
    expect(half).toBeCloseTo(0.2 + 1.8 / 2, 12);
    expect(end).toBeCloseTo(0.2, 12);
    expect(past).toBeCloseTo(0.2, 12);
  });

  it('never rises after the warm-up and stays finite when all steps are warm-up', () => {
    const curve = { kind: 'cosine', base: 1, warmupSteps: 5, totalSteps: 50 };
    const rates = at(curve, [...Array(60).keys()]);
    for (let s = 5; s < 60; s++) expect(rates[s]!).toBeLessThanOrEqual(rates[s - 1]!);
    expect(at({ ...curve, totalSteps: 5 }, [4, 5, 6])).toEqual([1, 1, 0]);
  });

  it('warms up, stays and decays in each stage', () => {
    const curve = { kind: 'stages', base: 1, end: 0.2, warmupSteps: 2, decayRatio: 0.4, boundaries: [10, 20] };
    const stage = [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4];
    const rates = at(curve, [...Array(22).keys()]);
    for (const [step, rate] of [...stage, ...stage, 0.2, 0.2].entries()) expect(rates[step]!).toBeCloseTo(rate, 12);
  });

  it('begins stages at 0 and ends at the base squared as the original does, on request', () => {
    const curve = { kind: 'stages', base: 0.1, end: 0.01, warmupSteps: 2, boundaries: [0, 5], exactOriginal: true };
    expect(at(curve, [0, 1, 2, 3])).toEqual([0, 0.05, 0.1, 0.1]);
    expect(at(curve, [5])[0]).toBeCloseTo(0.01, 12);
  });

  it('is all warm-up where a stage is shorter than it', () => {
    const curve = { kind: 'stages', base: 1, end: 0, warmupSteps: 8, boundaries: [4, 8] };
    expect(at(curve, [3, 4, 7])).toEqual([0.5, 0.125, 0.5]);
  });

  it.each([
    [{ kind: 'stages', base: 1, end: 0, boundaries: [5, 4] }, /ascending/],
    [{ kind: 'cosine', base: 1, warmupSteps: 9, totalSteps: 8 }, /at most totalSteps/],
    [{ kind: 'cosine', base: 1 }, /totalSteps/],
    [{ kind: 'constant', base: -1 }, /base/],
    [{ kind: 'constant', base: 1, warmupStep: 1 }, /did you mean \\"warmupSteps\\"/],
    [{ kind: 'step', base: 1 }, /kind/],
  ])('refuses fault %#', (curve, expected) => {
    expect(() => learningRateSchema.parse(curve)).toThrow(expected);
  });

  it('refuses a step that is none', () => {
    expect(() => at({ kind: 'constant', base: 1 }, [-1])).toThrow(/Expected step to be an integer/);
  });
});
