import { expect, it } from 'vitest';
import { Draws } from './draws.ts';
import { drawMaskRatio, MASK_DISTRIBUTIONS } from './mask-ratio.ts';

/** Mean and variance of the densities in the header, by the formula or by numerical integration. */
const MOMENTS = {
  beta: [0.8, (12 * 3) / (15 ** 2 * 16)],
  cosine: [2 / Math.PI, 1 / 2 - 4 / Math.PI ** 2],
  arccos: [2 / Math.PI, 0.057385],
  'truncated-normal': [0.693602, 0.016535],
} as const;

it.each(MASK_DISTRIBUTIONS)('%s has its mean and spread, and stays within [0, 1]', (distribution) => {
  const draws = new Draws(7, 0, 0, 0);
  const ratios = Array.from({ length: 20_000 }, () => drawMaskRatio(draws, distribution, [12, 3]));
  const mean = ratios.reduce((sum, x) => sum + x, 0) / ratios.length;
  const variance = ratios.reduce((sum, x) => sum + (x - mean) ** 2, 0) / ratios.length;
  const [wantMean, wantVariance] = MOMENTS[distribution];
  expect(Math.abs(mean - wantMean)).toBeLessThan(0.01);
  expect(Math.abs(variance - wantVariance)).toBeLessThan(0.004);
  const lowest = distribution === 'truncated-normal' ? 0.5 : 0;
  expect(ratios.every((ratio) => ratio >= lowest && ratio <= 1)).toBe(true);
});
