import { describe, expect, it } from 'vitest';
import { epochOrder } from './epoch-order.ts';

const order = (seed: number, epoch: number, numItems: number) =>
  Array.from({ length: numItems }, (_, index) => epochOrder(seed, epoch, index, numItems));

describe('epochOrder', () => {
  it.each([1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097])('is a permutation of %d items', (numItems) => {
    expect(order(7, 3, numItems).sort((a, b) => a - b)).toEqual([...Array(numItems).keys()]);
  });

  it('changes with seed (both words) and epoch', () => {
    const orders = [order(1, 0, 50), order(2, 0, 50), order(1 + 2 ** 32, 0, 50), order(1, 1, 50)].map(String);
    expect(new Set(orders).size).toBe(4);
  });

  it('puts each item at each place equally often, also for few items', () => {
    const numItems = 5;
    const counts = Array.from({ length: numItems * numItems }, () => 0);
    for (let epoch = 0; epoch < 5000; epoch++) {
      for (const [place, item] of order(11, epoch, numItems).entries()) counts[place * numItems + item]! += 1;
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(140); // about five standard deviations
  });

  it('takes all orders of three items about equally often', () => {
    const seen = new Map<string, number>();
    for (let epoch = 0; epoch < 6000; epoch++) {
      const key = order(2, epoch, 3).join();
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    expect(seen.size).toBe(6);
    for (const count of seen.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  it('leaves no trace of the order of neighbours', () => {
    const items = order(5, 0, 20000);
    let ascending = 0;
    let gap = 0;
    for (let i = 1; i < items.length; i++) {
      if (items[i]! > items[i - 1]!) ascending += 1;
      gap += Math.abs(items[i]! - items[i - 1]!);
    }
    expect(Math.abs(ascending / 19999 - 0.5)).toBeLessThan(0.01);
    expect(Math.abs(gap / 19999 / 20000 - 1 / 3)).toBeLessThan(0.01);
  });

  it('works at the size of ImageNet and beyond', () => {
    const numItems = 1281167;
    expect(new Set(Array.from({ length: 2000 }, (_, i) => epochOrder(0, 0, i, numItems))).size).toBe(2000);
    const far = epochOrder(0, 4294967295, 2 ** 48 - 1, 2 ** 48);
    expect(far).toBeGreaterThanOrEqual(0);
    expect(far).toBeLessThan(2 ** 48);
  });

  it('keeps its golden values', () => {
    expect(order(1, 0, 12)).toMatchInlineSnapshot(`
      [
        2,
        5,
        11,
        8,
        3,
        7,
        4,
        1,
        10,
        0,
        9,
        6,
      ]
    `);
    expect(epochOrder(123456789012, 4, 1000000, 1281167)).toMatchInlineSnapshot(`678542`);
  });

  it.each([
    [-1, 0, 0, 1],
    [0, -1, 0, 1],
    [0, 0, 5, 5],
    [0, 0, 0, 0],
    [0, 0, 0.5, 5],
  ])('refuses seed %d, epoch %d, index %d of %d', (seed, epoch, index, numItems) => {
    expect(() => epochOrder(seed, epoch, index, numItems)).toThrow(/Expected .* integer/);
  });
});
