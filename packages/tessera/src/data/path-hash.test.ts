import { expect, test } from 'vitest';
import { unitHash } from './path-hash.ts';

test('a name gives the same number for ever: splits on disk depend on it', () => {
  expect(unitHash('rose/1.jpg') * 2 ** 32).toBe(795_337_146);
  expect(unitHash('rose/1.jpg', 7) * 2 ** 32).toBe(875_170_215);
});

test('numbers of consecutive names are spread evenly', () => {
  const buckets = new Array(10).fill(0);
  for (let i = 0; i < 10_000; i++) buckets[Math.floor(unitHash(`class/img_${i}.png`, 3) * 10)]++;
  for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
