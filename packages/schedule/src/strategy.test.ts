import { describe, expect, it } from 'vitest';
import { autonatSearched8 } from './named-strategies.ts';
import { forPartOf, maskCounts, parseStrategy, remaskCount, resolveSteps } from './strategy.ts';

const step = { maskRatio: 0.5, sampleTemperature: 1, choiceTemperature: 2, guidanceScale: 1.5 };
const last = { maskRatio: 0, sampleTemperature: 0, choiceTemperature: 0, guidanceScale: 3 };
const base = { numSteps: 2, remask: 'sort', keepProgress: false, steps: [step, last] };

describe('parseStrategy', () => {
  it('fills in the format version and the floor, and survives JSON', () => {
    const strategy = parseStrategy(base);
    expect(strategy).toEqual({
      ...base,
      formatVersion: 1,
      order: 'confidence',
      skipGuidanceBelow: 0,
      sampleTemperatureFloor: 1e-3,
    });
    expect(parseStrategy(JSON.parse(JSON.stringify(strategy)))).toEqual(strategy);
  });

  it.each([
    [{ ...base, formatVersion: 2 }, /formatVersion/],
    [{ ...base, numSteps: 3 }, /steps: expected 3 steps \(numSteps\), got 2/],
    [{ ...base, numSteps: 0 }, /numSteps/],
    [{ ...base, remask: 'random' }, /remask/],
    [{ ...base, numStep: 2 }, /unknown key "numStep"; did you mean "numSteps"\?/],
    [{ ...base, steps: [step, { ...last, guidance_scale: 1 }] }, /steps\[1\]: unknown key .*"guidanceScale"/],
    [
      { ...base, steps: [step, { ...last, maskCount: 3 }] },
      /steps\[1\]: expected exactly one of maskRatio and maskCount/,
    ],
    [{ ...base, steps: [step, { ...last, maskRatio: undefined }] }, /exactly one/],
    [{ ...base, steps: [step, { ...last, maskRatio: 1.5 }] }, /steps\[1\].maskRatio/],
    [{ ...base, steps: [step, { ...last, guidanceScale: Number.NaN }] }, /steps\[1\].guidanceScale/],
    [{ ...base, steps: [step, { ...last, sampleTemperature: Number.POSITIVE_INFINITY }] }, /sampleTemperature/],
    [[], /expected object/],
    ['fast', /expected object/],
  ])('refuses fault %#', (value, expected) => {
    expect(() => parseStrategy(value, 'strategy.yaml')).toThrow(expected);
    expect(() => parseStrategy(value, 'strategy.yaml')).toThrow(/^strategy.yaml: /);
  });
});

describe('maskCounts', () => {
  it('counts by ratio or by number, fixing all at the end', () => {
    const strategy = parseStrategy({
      ...base,
      numSteps: 3,
      steps: [step, { ...last, maskRatio: undefined, maskCount: 3 }, last],
    });
    expect(maskCounts(strategy, 17)).toEqual({ maskedIn: [17, 8, 3], remasked: [8, 3, 0], newlyFixed: [9, 5, 3] });
    expect(() => maskCounts(strategy, 2)).toThrow(/maskCount of step 1 to be at most 2 .*got 3/);
  });

  it('never masks a visible token again', () => {
    const strategy = parseStrategy({ ...base, numSteps: 3, steps: [step, { ...step, maskRatio: 0.9 }, last] });
    expect(maskCounts(strategy, 100).maskedIn).toEqual([100, 50, 50]);
    expect(maskCounts({ ...strategy, keepProgress: true }, 100).maskedIn).toEqual([100, 50, 49]);
    expect(maskCounts({ ...strategy, keepProgress: true }, 1).maskedIn).toEqual([1, 1, 1]);
  });

  it('follows a sampler whose ties masked more', () => {
    const strategy = parseStrategy({ ...base, keepProgress: true });
    expect(remaskCount(strategy, 0, 20, 100)).toBe(19);
    expect(remaskCount(strategy, 1, 20, 100)).toBe(1);
    expect(() => remaskCount(strategy, 2, 20, 100)).toThrow(/step of the strategy/);
  });
});

describe('resolveSteps', () => {
  it('floors the sampling temperature only', () => {
    const resolved = resolveSteps(parseStrategy({ ...base, sampleTemperatureFloor: 1e-4 }), 10);
    expect(resolved).toEqual([
      { maskedIn: 10, remasked: 5, newlyFixed: 5, sampleTemperature: 1, choiceTemperature: 2, guidanceScale: 1.5 },
      { maskedIn: 5, remasked: 0, newlyFixed: 5, sampleTemperature: 1e-4, choiceTemperature: 0, guidanceScale: 3 },
    ]);
  });
});

describe('forPartOf', () => {
  it('keeps shares and turns counts of the whole into shares', () => {
    const strategy = parseStrategy({
      ...base,
      steps: [
        { maskCount: 12, sampleTemperature: 1, choiceTemperature: 0, guidanceScale: 1 },
        { maskRatio: 0.5, sampleTemperature: 1, choiceTemperature: 0, guidanceScale: 1 },
      ],
    });
    expect(forPartOf(strategy, 16, 16)).toBe(strategy);
    const part = forPartOf(strategy, 8, 16);
    expect(part.steps.map((step) => [step.maskRatio, step.maskCount])).toEqual([
      [0.75, undefined],
      [0.5, undefined],
    ]);
    expect(maskCounts(part, 8).maskedIn).toEqual([8, 6]);
  });
});

describe('skipGuidanceBelow', () => {
  it('makes hardly any guidance none, and leaves the rest', () => {
    const searched = resolveSteps(autonatSearched8(), 256).map((step) => step.guidanceScale);
    expect(searched.slice(0, 4)).toEqual([1, 1, 1, 1.9151274967591447]);
    const whole = resolveSteps({ ...autonatSearched8(), skipGuidanceBelow: 0 }, 256);
    expect(whole[0]!.guidanceScale).toBe(1.0001);
  });
});
