import { arange, fromTypedArray, scope, type Tensor, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { bootstrapInterval } from './bootstrap.ts';
import { CodebookCounter } from './codebook-usage.ts';
import { equalSplits, inceptionScore, inceptionScoreOfSplits, splitsOfSize } from './inception-score.ts';
import { kernelDistance } from './kid.ts';
import { psnr, ssim } from './picture-quality.ts';
import { drawSubset, metricDraws, numpyPermutation } from './splits.ts';

describe('Inception Score', () => {
  it('is the number of classes for sure and balanced answers, 1 for equal ones', () =>
    scope(() => {
      const sure = tensor([
        [50, 0, 0],
        [0, 50, 0],
        [0, 0, 50],
      ]);
      expect(inceptionScoreOfSplits(sure, [[0, 3]]).mean).toBeCloseTo(3, 6);
      expect(
        inceptionScoreOfSplits(
          tensor([
            [1, 2, 3],
            [1, 2, 3],
          ]),
          [[0, 2]],
        ).mean,
      ).toBeCloseTo(1, 10);
    }));

  it('is mean and population deviation over splits', () =>
    scope(() => {
      const logits = tensor([
        [50, 0],
        [0, 50],
        [50, 0],
        [50, 0],
      ]);
      expect(inceptionScoreOfSplits(logits, equalSplits(4, 2))).toEqual({
        mean: expect.closeTo(1.5, 6),
        std: expect.closeTo(0.5, 6),
        splits: 2,
      });
      expect(splitsOfSize(5, 2)).toEqual([
        [0, 2],
        [2, 4],
        [4, 5],
      ]);
      expect(inceptionScore(logits, 'adm').splits).toBe(1);
      expect(() => inceptionScore(logits, 'torch-fidelity')).toThrow(/an image a split, got 4/);
    }));

  it("orders rows as numpy's RandomState does", () => {
    expect([...numpyPermutation(2020, 12)]).toEqual(NUMPY_2020_12);
    expect([...numpyPermutation(0, 5)]).toEqual([2, 0, 1, 3, 4]);
  });
});

const NUMPY_2020_12 = [2, 1, 11, 4, 10, 5, 7, 9, 6, 3, 8, 0];

describe('kernel distance', () => {
  const spread = (count: number, shift: number): Tensor =>
    fromTypedArray(
      Float32Array.from({ length: count * 2 }, (_, i) => Math.sin(i * 7.3 + 1) + shift),
      [count, 2],
    );

  it('is the unbiased estimate', () =>
    scope(() => {
      const a = tensor([
        [0, 0],
        [2, 0],
      ]);
      const b = tensor([
        [0, 2],
        [2, 2],
      ]);
      // Kernels (x·y / 2 + 1)³: within a 1; within b (4/2 + 1)³ = 27; across 1, 1, 1, (4/2 + 1)³ = 27, mean 7.5
      const { mean, std } = kernelDistance(a, b, { subsets: 3 });
      expect(mean).toBeCloseTo(1 + 27 - 15, 10);
      expect(std).toBeCloseTo(0, 10);
    }));

  it('is about 0 for halves of one set, grows with a shift, and follows from its seed', () =>
    scope(() => {
      const all = spread(400, 0);
      const [a, b] = [all.narrow(0, 0, 200), all.narrow(0, 200, 200)];
      const options = { subsets: 20, subsetSize: 100, seed: 3 };
      const [same, near, far] = [b, b.add(0.3), b.add(1)].map((x) => kernelDistance(a, x, options).mean);
      expect(Math.abs(same!)).toBeLessThan(0.05);
      expect(near).toBeGreaterThan(same!);
      expect(far).toBeGreaterThan(near!);
      expect(kernelDistance(a, b, options)).toEqual(kernelDistance(a, b, options));
      expect(() => kernelDistance(a, tensor([[1, 2, 3]]))).toThrow(/2 features with 3/);
      expect(() => kernelDistance(a, tensor([[1, 2]]))).toThrow(/2 images a subset/);
    }));

  it('draws subsets without repetition, every element as often', () => {
    const draws = metricDraws(1, 2);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 3000; i++) {
      const chosen = drawSubset(draws, 4, 10);
      expect(new Set(chosen).size).toBe(4);
      for (const index of chosen) counts[index]! += 1;
    }
    for (const count of counts) expect(Math.abs(count - 1200)).toBeLessThan(120);
  });
});

describe('picture quality', () => {
  const picture = (noise: number): Tensor => {
    const values = Float32Array.from(
      { length: 3 * 9 * 8 },
      (_, i) => 0.5 + 0.3 * Math.sin(i) + noise * Math.cos(i * 5.1),
    );
    return fromTypedArray(values, [1, 3, 9, 8]);
  };

  it('PSNR is 10 log₁₀(range² / mean squared error)', () =>
    scope(() => {
      const a = picture(0);
      expect(psnr(a, a.add(0.1))[0]).toBeCloseTo(20, 4);
      expect(psnr(a, a.add(0.1), 2)[0]).toBeCloseTo(20 + 20 * Math.log10(2), 4);
      expect(psnr(a, a)).toEqual([Number.POSITIVE_INFINITY]);
    }));

  it('SSIM agrees with its formula window by window', () =>
    scope(() => {
      const [a, b] = [picture(0), picture(0.1)];
      for (const range of [1, 2]) expect(ssim(a, b, range)[0]).toBeCloseTo(plainSsim(a, b, range), 8);
      expect(ssim(a, a)[0]).toBeCloseTo(1, 12);
      expect(() => ssim(a.narrow(2, 0, 5), b.narrow(2, 0, 5))).toThrow(/7×7 pixels; got 5×8/);
      expect(() => psnr(a, b.narrow(2, 0, 5))).toThrow(/of the same sizes/);
    }));

  /** Loops over windows, means before products. */
  function plainSsim(a: Tensor, b: Tensor, range: number): number {
    const [x, y] = [a.toNumbers(), b.toNumbers()];
    const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2];
    const values: number[] = [];
    for (let channel = 0; channel < 3; channel++) {
      for (let top = 0; top <= 2; top++) {
        for (let left = 0; left <= 1; left++) {
          const places = Array.from(
            { length: 49 },
            (_, i) => channel * 72 + (top + Math.floor(i / 7)) * 8 + left + (i % 7),
          );
          const mean = (z: number[]): number => places.reduce((sum, i) => sum + z[i]!, 0) / 49;
          const [mx, my] = [mean(x), mean(y)];
          const spread = (p: number[], q: number[], mp: number, mq: number): number =>
            places.reduce((sum, i) => sum + (p[i]! - mp) * (q[i]! - mq), 0) / 48;
          const [vx, vy, vxy] = [spread(x, x, mx, mx), spread(y, y, my, my), spread(x, y, mx, my)];
          values.push(((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2)));
        }
      }
    }
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  }
});

describe('codebook usage', () => {
  it('counts codes and the perplexity of their frequencies', () => {
    const counter = new CodebookCounter(8);
    counter.add([0, 0, 3, 3]);
    counter.add([5, 5, 7, 7]);
    expect(counter.result()).toEqual({ codebookSize: 8, used: 4, share: 0.5, perplexity: expect.closeTo(4, 10) });
    expect(() => counter.add([8])).toThrow(/tokens below 8, got 8/);
    expect(() => new CodebookCounter(4).result()).toThrow(/at least one token/);
  });
});

describe('bootstrap', () => {
  it('gives the standard error of a mean', () =>
    scope(() => {
      const values = arange(0, 100, 1, { dtype: 'float64' }).toNumbers();
      const mean = (rows: Int32Array): number => rows.reduce((sum, i) => sum + values[i]!, 0) / rows.length;
      const interval = bootstrapInterval(49.5, 100, mean, { resamples: 400 });
      // The deviation of 0..99 is 28.87; a tenth of it, within its own sampling error.
      expect(Math.abs(interval.standardError - 2.887)).toBeLessThan(0.35);
      expect(interval.high - interval.low).toBeCloseTo(2 * 1.959964 * interval.standardError, 10);
      expect(() => bootstrapInterval(0, 1, mean)).toThrow(/2 images or more/);
    }));
});
