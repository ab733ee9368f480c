import { describe, expect, it } from 'vitest';
import { autonatMaskCount, cosineMaskRatio, enatMaskCount, roundHalfEven, trainingMaskCount } from './mask-count.ts';

describe('roundHalfEven', () => {
  it.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [2.5000000001, 3],
    [2.4999999999, 2],
    [-0.5, -0],
    [-1.5, -2],
    [-2.5, -2],
    [7, 7],
    [0.49999999999999994, 0],
    [2 ** 52 + 1, 2 ** 52 + 1],
  ])('%d -> %d', (x, expected) => {
    expect(roundHalfEven(x) - expected).toBe(0);
  });
});

describe('trainingMaskCount', () => {
  it('rounds halves to even and clamps', () => {
    expect(trainingMaskCount(0.5 / 256, 256)).toBe(1); // 0.5 -> 0 -> at least 1
    expect(trainingMaskCount(2.5 / 256, 256)).toBe(2);
    expect(trainingMaskCount(3.5 / 256, 256)).toBe(4);
    expect(trainingMaskCount(1, 256)).toBe(256);
    expect(trainingMaskCount(1, 256, { maxMasked: 255 })).toBe(255);
    expect(trainingMaskCount(0, 64, { minMasked: 0 })).toBe(0);
  });

  it('multiplies in float32', () => {
    // In float64 these products stay under the half (10 and 11); float32 rounds them to 10.5 and 11.5: the even 10 and 12.
    expect(trainingMaskCount(10.499999999 / 256, 256)).toBe(10);
    expect(trainingMaskCount(11.499999999 / 256, 256)).toBe(12);
  });

  it('refuses a ratio outside [0, 1] and bad bounds', () => {
    expect(() => trainingMaskCount(1.01, 256)).toThrow(/mask ratio .*\[0, 1\], got 1.01/);
    expect(() => trainingMaskCount(Number.NaN, 256)).toThrow(/got NaN/);
    expect(() => trainingMaskCount(0.5, 0)).toThrow(/seqLen/);
    expect(() => trainingMaskCount(0.5, 256, { minMasked: 9, maxMasked: 8 })).toThrow(/maxMasked .*\[9, 256\], got 8/);
  });
});

describe('sampling counts', () => {
  it('follows the cosine, in float64 and in this order of operations', () => {
    const after = (numSteps: number, seqLen: number) =>
      Array.from({ length: numSteps }, (_, step) => enatMaskCount(step, numSteps, seqLen));
    expect(after(8, 256)).toEqual([251, 236, 212, 181, 142, 97, 49, 0]);
    expect(after(6, 1024)).toEqual([989, 886, 724, 512, 265, 0]);
    expect(cosineMaskRatio(0)).toBe(1);
    expect(() => enatMaskCount(8, 8, 256)).toThrow(/step .*\[0, 7\], got 8/);
  });

  it('keeps AutoNAT moving: at least one fixed, at least one masked', () => {
    expect(autonatMaskCount(0.5, 256, 256)).toBe(128);
    expect(autonatMaskCount(0.9, 100, 256)).toBe(99);
    expect(autonatMaskCount(0, 100, 256)).toBe(1);
    expect(autonatMaskCount(0.9, 1, 256)).toBe(1);
  });
});
