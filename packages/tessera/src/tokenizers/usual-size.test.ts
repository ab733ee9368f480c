import { expect, test } from 'vitest';
import { tokenizerPresets } from './registry.ts';
import { usualSize } from './usual-size.ts';

test.each([
  ['llamagen-vq16', 16, 256],
  ['llamagen-vq8', 8, 256],
  ['maskgit-vqgan', 16, 256],
  ['vq-small', 4, 32],
  ['vq-small-64', 8, 64],
])('%s is for pictures of its size', (name, downsampleFactor, size) => {
  const { config } = tokenizerPresets().get(name)!;
  expect(usualSize({ downsampleFactor, config: { ...config } })).toBe(size);
});
