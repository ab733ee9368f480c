import { expect, test } from 'vitest';
import { dealOut } from './optimizer-share.ts';

test('everything has one owner, and all own about the same', () => {
  const sizes = new Map<string, number>(Array.from({ length: 40 }, (_, i) => [`p${i}`, 10 + ((i * 37) % 23)]));
  for (const count of [1, 2, 3, 4, 7]) {
    const owners = dealOut(sizes, count);
    expect([...owners.keys()].sort()).toEqual([...sizes.keys()].sort());
    const loads = Array.from({ length: count }, (_, rank) =>
      [...owners].reduce((sum, [name, owner]) => sum + (owner === rank ? sizes.get(name)! : 0), 0),
    );
    // Nobody has more than one tensor above another.
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(32);
  }
});

test('the same on all ranks, whatever the order; more ranks than tensors leaves some without', () => {
  const owners = dealOut(new Map([['a', 4], ['b', 9], ['c', 5]]), 2); // biome-ignore format: one row
  expect(Object.fromEntries(owners)).toEqual({ b: 0, c: 1, a: 1 });
  expect(new Set(dealOut(new Map([['a', 1]]), 4).values())).toEqual(new Set([0]));
});
