import { expect, test } from 'vitest';
import { evenly } from './evenly.ts';

test('takes all, or some from everywhere', () => {
  expect(evenly(3, 5)).toEqual([0, 1, 2]);
  expect(evenly(10, 4)).toEqual([0, 2, 5, 7]);
  expect(evenly(0, 4)).toEqual([]);
  expect(new Set(evenly(1000, 64)).size).toBe(64);
});
