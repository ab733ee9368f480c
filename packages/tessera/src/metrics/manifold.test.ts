import { scope, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { manifoldMetrics, manifoldRadii, nearestNeighbours, squaredDistances } from './manifold.ts';

describe('manifold metrics', () => {
  it('are counts of points in balls', () =>
    scope(() => {
      // On a line, k = 1: radii of 0, 1, 3, 10 are 1, 1, 4, 49; of the samples 0.5, 4, 30 they are 12.25, 12.25, 676.
      const reference = tensor([[0], [1], [3], [10]]);
      const samples = tensor([[0.5], [4], [30]]);
      expect(manifoldRadii(reference, 1, 'float64').toNumbers()).toEqual([1, 1, 4, 49]);
      expect(manifoldRadii(samples, 1, 'float64').toNumbers()).toEqual([12.25, 12.25, 676]);
      // 0.5 is in the balls of 0 and 1 (and 6.25 > 4: not of 3); 4 in those of 3 and 10; 30 in none.
      const all = { precision: 2 / 3, recall: 1, density: 4 / 3, coverage: 1 };
      const draws = [Int32Array.of(0, 1, 2), Int32Array.of(0, 0, 2)];
      const { resampled, ...found } = manifoldMetrics(reference, samples, { k: 1, draws });
      expect(found).toEqual(all);
      expect(resampled[0]).toEqual(all);
      // Without 4, the balls of 3 and 10 are empty, and of the samples' balls 10 is in that of 30 alone.
      expect(resampled[1]).toEqual({ precision: 2 / 3, recall: 1, density: 4 / 3, coverage: 0.5 });
    }));

  it('tell a set that misses a mode from one that adds one', () =>
    scope(() => {
      const low = [[0], [1], [2], [3], [4]];
      const both = [...low, ...low.map(([x]) => [x! + 100])];
      const dropped = manifoldMetrics(tensor(both), tensor(low), { k: 2 });
      const added = manifoldMetrics(tensor(low), tensor(both), { k: 2 });
      expect([dropped.precision, dropped.recall, dropped.coverage]).toEqual([1, 0.5, 0.5]);
      expect([added.precision, added.recall, added.coverage]).toEqual([0.5, 1, 1]);
    }));

  it('fall back to float32 where float16 overflows, and round where it does not', () =>
    scope(() => {
      const large = squaredDistances(tensor([[300, 0]]), tensor([[0, 1]]), 'float16');
      expect(large.toNumbers()).toEqual([90001]);
      // 2049 is no float16: 45² + 4.8989² is about 2049, rounded to even 2048
      const small = squaredDistances(tensor([[45, 4.8989]]), tensor([[0, 0]]), 'float16');
      expect(small.toNumbers()).toEqual([2048]);
    }));

  it('find nearest neighbours, and refuse sets that are too small or of another width', () =>
    scope(() => {
      const found = nearestNeighbours(
        tensor([
          [2, 0],
          [9, 9],
        ]),
        tensor([
          [0, 0],
          [3, 0],
          [9, 8],
        ]),
      );
      expect(found).toEqual({ indices: [1, 2], distances: [1, 1] });
      expect(() => manifoldRadii(tensor([[1], [2]]), 2, 'float64')).toThrow(/need 3 images or more, got 2/);
      expect(() => manifoldMetrics(tensor([[1]]), tensor([[1, 2]]))).toThrow(/2 features with a reference of 1/);
    }));
});
