import { describe, expect, it } from 'vitest';
import {
  autonatInitialStrategy,
  autonatSearched8,
  cosineStrategy,
  ENAT_PRESETS,
  enatStrategy,
  fromAutonatYaml,
} from './named-strategies.ts';
import { maskCounts, resolveSteps } from './strategy.ts';

describe('enatStrategy', () => {
  it('is the published schedule of ENAT-L at 256 px', () => {
    const steps = resolveSteps(enatStrategy(ENAT_PRESETS[256]), 256);
    expect(steps.map((s) => s.maskedIn)).toEqual([256, 251, 236, 212, 181, 142, 97, 49]);
    expect(steps.map((s) => s.guidanceScale)).toEqual([1, 1.3125, 1.625, 1.9375, 2.25, 2.5625, 2.875, 3.1875]);
    expect(steps.map((s) => s.choiceTemperature)).toEqual([1.3125, 1.125, 0.9375, 0.75, 0.5625, 0.375, 0.1875, 0]);
    expect(steps.map((s) => s.sampleTemperature)).toEqual([5.25, 4.5, 3.75, 3, 2.25, 1.5, 0.75, 1e-3]);
  });

  it('is unguided at scale 1 and may reveal nothing in a step', () => {
    const strategy = enatStrategy({ numSteps: 32, sampleTemperature: 1, choiceTemperature: 0 });
    expect(strategy.steps.every((s) => s.guidanceScale === 1 && s.choiceTemperature === 0)).toBe(true);
    const counts = maskCounts(strategy, 16);
    expect(counts.newlyFixed).toContain(0);
    expect(counts.newlyFixed.reduce((a, b) => a + b)).toBe(16);
  });

  it('refuses a number of steps that is none', () => {
    for (const numSteps of [0, -1, 2.5, Number.NaN, 65537]) {
      expect(() => enatStrategy({ numSteps })).toThrow(/numSteps/);
    }
  });
});

describe('cosineStrategy', () => {
  it('fixes at least one token a step', () => {
    const counts = maskCounts(cosineStrategy({ numSteps: 12 }), 16);
    expect(counts.newlyFixed.every((n) => n >= 1)).toBe(true);
    expect(counts.newlyFixed.reduce((a, b) => a + b)).toBe(16);
  });

  it('decays the choice noise only', () => {
    const steps = resolveSteps(cosineStrategy({ numSteps: 4, guidanceScale: 2, sampleTemperature: 0.9 }), 256);
    expect(steps.map((s) => s.choiceTemperature)).toEqual([3.375, 2.25, 1.125, 0]);
    expect(steps.map((s) => s.sampleTemperature)).toEqual([0.9, 0.9, 0.9, 0.9]);
    expect(steps.map((s) => s.guidanceScale)).toEqual([2, 2, 2, 2]);
    expect(steps.map((s) => s.maskedIn)).toEqual([256, 236, 181, 97]);
  });
});

describe('AutoNAT', () => {
  it('has the counts of the searched strategy', () => {
    const strategy = autonatSearched8();
    expect(maskCounts(strategy, 256).maskedIn).toEqual([256, 244, 225, 203, 190, 159, 104, 66]);
    expect(maskCounts(strategy, 256).remasked.at(-1)).toBe(1);
    expect(strategy.remask).toBe('threshold');
    expect(strategy.sampleTemperatureFloor).toBe(1e-4);
    expect(strategy.steps[0]!.guidanceScale).toBeCloseTo(1.0001, 12);
    expect(strategy.steps[7]!).toEqual({
      maskRatio: 0,
      sampleTemperature: 0.7133060703601533,
      choiceTemperature: 0,
      guidanceScale: 2.22678520936251,
    });
  });

  it('starts its search from the cosine', () => {
    const strategy = autonatInitialStrategy(4);
    expect(maskCounts(strategy, 256).maskedIn).toEqual([256, 236, 181, 97]);
    expect(strategy.steps.map((s) => s.choiceTemperature)).toEqual([1, 0.75, 0.5, 0]);
    expect(strategy.steps.map((s) => s.guidanceScale)).toEqual([1.25, 1.5, 1.75, 2]);
  });

  it('reads its yaml, with one step too', () => {
    const one = fromAutonatYaml({ manual_ratios: [], manual_temp: [], manual_samp_temp: [1], manual_cfg: [0.5] });
    expect(one.steps).toEqual([{ maskRatio: 0, sampleTemperature: 1, choiceTemperature: 0, guidanceScale: 1.5 }]);
  });

  const good = { manual_ratios: [0.5], manual_temp: [1], manual_samp_temp: [1, 1], manual_cfg: [0, 1] };
  it.each([
    [{ ...good, manual_ratios: [0.5, 0.2] }, /expected 1 values in manual_ratios \(manual_samp_temp has 2\), got 2/],
    [{ ...good, manual_cfg: [0] }, /expected 2 values in manual_cfg/],
    [{ ...good, manual_ratio: [1] }, /unknown key "manual_ratio"; did you mean "manual_ratios"\?/],
    [{ ...good, manual_ratios: [1.5] }, /steps\[0\]\.maskRatio/],
    [{ ...good, manual_temp: undefined }, /manual_temp/],
    [{ ...good, manual_temp: ['hot'] }, /manual_temp\[0\]/],
    [{ ...good, manual_samp_temp: [] }, /manual_samp_temp/],
    [null, /expected object/],
  ])('refuses fault %#', (content, expected) => {
    expect(() => fromAutonatYaml(content, 'stp_3.yaml')).toThrow(expected);
    expect(() => fromAutonatYaml(content, 'stp_3.yaml')).toThrow(/^stp_3.yaml: /);
  });
});
