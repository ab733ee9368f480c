import { expect, it } from 'vitest';
import { maskRatioSpace } from './mask-ratio-space.ts';

it('begins at the start, and a step is a factor', () => {
  const { space, settings } = maskRatioSpace([12, 3]);
  expect(settings(space.start)).toEqual({ maskBeta: [12, 3] });
  const further = space.start.map((x, i) => x + space.scale[i]!);
  expect(settings(further)).toEqual({ maskBeta: [16.8, 4.2] });
});

it('brings a start within the bounds, and gives no distribution outside of them', () => {
  const { space, settings } = maskRatioSpace([12, 3], { alpha: [1, 4] });
  expect(settings(space.start).maskBeta).toEqual([4, 3]);
  expect(settings(space.lower).maskBeta).toEqual([1, 0.25]);
  expect(settings(space.upper).maskBeta).toEqual([4, 60]);
});

it.each([
  [[12, 3], { alpha: [4, 1] }, 'bounds of alpha with 0.01 ≤ low'],
  [[12, 3], { beta: [0, 1] }, 'bounds of beta with 0.01 ≤ low'],
  [[12, 3], { beta: [1, Number.POSITIVE_INFINITY] }, 'got 1 and Infinity'],
  [[0, 3], {}, 'α and β above 0, got 0 and 3'],
] as const)('refuses %j within %j', (start, bounds, message) => {
  expect(() => maskRatioSpace(start, bounds)).toThrow(message);
});
