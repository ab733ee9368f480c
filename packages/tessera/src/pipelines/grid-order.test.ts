import { describe, expect, it } from 'vitest';
import { gridOrder } from './grid-order.ts';

describe('gridOrder', () => {
  it('puts a class in each row, whole columns only', () => {
    expect(gridOrder(8, 3, 96)).toEqual({ indices: [0, 3, 1, 4, 2, 5], columns: 2, rowsAreClasses: true });
  });

  it('makes a square of one class, and of one image a class', () => {
    expect(gridOrder(5, 1, 96)).toEqual({ indices: [0, 1, 2, 3, 4], columns: 3, rowsAreClasses: false });
    expect(gridOrder(5, 4, 96)).toEqual({ indices: [0, 1, 2, 3, 4], columns: 3, rowsAreClasses: false });
    expect(gridOrder(2, 9, 96).indices).toEqual([0, 1]);
  });

  it.each([
    [50_000, 1000, 256],
    [50_000, 1000, 512],
    [1_000_000, 1, 32],
    [3, 3, 20_000],
    [50_000, 10, 1024],
  ])('stays a picture of %d images of %d classes at %d px', (numImages, numClasses, side) => {
    const { indices, columns } = gridOrder(numImages, numClasses, side);
    const rows = Math.ceil(indices.length / columns);
    expect(indices.length).toBeGreaterThan(0);
    expect(rows * columns * side ** 2).toBeLessThanOrEqual(Math.max(2 ** 26 * 1.1, side ** 2));
    expect(Math.max(...indices)).toBeLessThan(numImages);
    expect(new Set(indices).size).toBe(indices.length);
  });
});
