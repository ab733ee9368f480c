import { expect, test } from 'vitest';
import { haltonRanks, radicalInverse } from './halton.ts';

test('the radical inverse mirrors the digits', () => {
  expect([1, 2, 3, 4, 5].map((i) => radicalInverse(i, 2))).toEqual([1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8]);
  expect([1, 2, 3, 4].map((i) => radicalInverse(i, 3))).toEqual([1 / 3, 2 / 3, 1 / 9, 4 / 9]);
});

test('ranks follow the sequence and name every cell once', () => {
  // Points (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9) in a grid of 2: cells (1, 0), (0, 1), (1, 0) again, (0, 0).
  expect([...haltonRanks(2)]).toEqual([2, 1, 0, 3]);
  for (const side of [1, 3, 8, 16, 32]) {
    const ranks = haltonRanks(side);
    expect([...ranks].sort((a, b) => a - b)).toEqual(Array.from({ length: side * side }, (_, i) => i));
  }
});

test('any first quarter is spread out: no quadrant has more than twice its share', () => {
  const ranks = haltonRanks(16);
  const quadrants = [0, 0, 0, 0];
  for (const [position, rank] of ranks.entries()) {
    if (rank < 64) quadrants[(position >>> 7) * 2 + ((position >>> 3) & 1)]! += 1;
  }
  for (const count of quadrants) expect(count).toBeGreaterThanOrEqual(12);
});

test('refuses a grid without a size', () => {
  expect(() => haltonRanks(0)).toThrow(/gridSize/);
});
