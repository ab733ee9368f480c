import { arange, fromTypedArray, scope, type Tensor, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { type FeatureStatistics, RunningStatistics, statisticsOf } from './feature-statistics.ts';
import { frechetDistance } from './frechet.ts';

/** [N, D] numbers that follow no pattern, scaled by column. */
function features(count: number, dim: number, seed: number, shift = 0): Tensor {
  const values = Float32Array.from({ length: count * dim }, (_, i) => {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return (x - Math.floor(x)) * (1 + (i % dim) / dim) + shift;
  });
  return fromTypedArray(values, [count, dim]);
}

const gaussian = (mean: number[], covariance: number[][]) => ({
  mean: tensor(mean, 'float64'),
  covariance: tensor(covariance, 'float64'),
});

describe('frechetDistance', () => {
  it('is the formula for diagonal covariances', () =>
    scope(() => {
      const a = gaussian(
        [1, 2],
        [
          [4, 0],
          [0, 9],
        ],
      );
      const b = gaussian(
        [4, 6],
        [
          [1, 0],
          [0, 16],
        ],
      );
      // 9 + 16 + (2 - 1)² + (3 - 4)²
      expect(frechetDistance(a, b)).toBeCloseTo(27, 10);
    }));

  it('is the formula for covariances that do not commute', () =>
    scope(() => {
      const [s1, s2] = [
        [
          [2, 1],
          [1, 3],
        ],
        [
          [5, -2],
          [-2, 1],
        ],
      ];
      // tr of the root of a 2 × 2 matrix M: sqrt(tr M + 2 sqrt(det M)); tr(S₁S₂) = 9, det = 5 · 1
      const expected = 5 + 6 - 2 * Math.sqrt(9 + 2 * Math.sqrt(5));
      expect(frechetDistance(gaussian([0, 0], s1), gaussian([0, 0], s2))).toBeCloseTo(expected, 10);
    }));

  it('is 0 for itself and symmetric, also with fewer images than features', () =>
    scope(() => {
      const [few, many] = [statisticsOf(features(5, 12, 1)), statisticsOf(features(60, 12, 2))];
      const other = statisticsOf(features(6, 12, 3, 0.5));
      expect(Math.abs(frechetDistance(few, few))).toBeLessThan(1e-6);
      expect(frechetDistance(few, many)).toBeCloseTo(frechetDistance(many, few), 6);
      expect(frechetDistance(few, other)).toBeCloseTo(frechetDistance(other, few), 6);
      expect(frechetDistance(few, other)).toBeGreaterThan(12 * 0.25 * 0.5);
    }));

  it('refuses statistics of other dimensions, of a wrong shape, and NaN', () =>
    scope(() => {
      const two = gaussian(
        [0, 0],
        [
          [1, 0],
          [0, 1],
        ],
      );
      const one = gaussian([0], [[1]]);
      const flat = { mean: two.mean, covariance: one.covariance };
      const broken = gaussian(
        [0, Number.NaN],
        [
          [1, 0],
          [0, 1],
        ],
      );
      expect(() => frechetDistance(two, one)).toThrow(/2 features with statistics of 1/);
      expect(() => frechetDistance(flat, two)).toThrow(/\[2, 2\].*\[1, 1\]/);
      expect(() => frechetDistance(two, broken)).toThrow(/NaN/);
    }));
});

describe('RunningStatistics', () => {
  const close = (a: FeatureStatistics, b: FeatureStatistics, digits: number) => {
    expect(a.count).toBe(b.count);
    expect(a.mean.sub(b.mean).abs().max().item()).toBeLessThan(10 ** -digits);
    expect(a.covariance.sub(b.covariance).abs().max().item()).toBeLessThan(10 ** -digits);
  };

  it('is mean and covariance with N - 1', () =>
    scope(() => {
      const { mean, covariance } = statisticsOf(
        tensor([
          [1, 2],
          [3, 6],
          [5, 4],
        ]),
      );
      expect(mean.toNumbers()).toEqual([3, 4]);
      expect(covariance.toArray()).toEqual([
        [4, 2],
        [2, 4],
      ]);
    }));

  it('does not mind how rows are cut into batches and processes', () =>
    scope(() => {
      const x = features(50, 6, 4, 1000); // far from 0: sums of squares would cancel
      const [a, b] = [new RunningStatistics(6), new RunningStatistics(6)];
      a.add(x.narrow(0, 0, 7));
      a.add(x.narrow(0, 7, 20));
      b.add(x.narrow(0, 27, 23));
      a.addFrom(b);
      close(a.result(), statisticsOf(x), 10);
      a.dispose();
      b.dispose();
    }));

  it('refuses other widths, a single image and NaN', () =>
    scope(() => {
      const running = new RunningStatistics(2);
      expect(() => running.add(arange(0, 3).view([1, 3]))).toThrow(/\[N, 2\].*\[1, 3\]/);
      running.add(tensor([[1, 2]]));
      expect(() => running.result()).toThrow(/at least 2 images, got 1/);
      running.add(tensor([[1, Number.NaN]]));
      expect(() => running.result()).toThrow(/NaN/);
      running.dispose();
    }));
});
