import { setNumThreads } from '@tessera/torch';
import { expect, test } from 'vitest';
import type { FitImages } from './images.ts';
import { makePlan } from './make-plan.ts';

const SIZE = 16;
const SAMPLE = { pixels: Uint8Array.from({ length: 4 * SIZE * SIZE * 3 }, (_, i) => (i * 7) % 256), size: SIZE };

/** Steps of the two trainings by a plan of `numImages`, where there are so many seconds at each asking. */
function stepsOf(numImages: number, seconds: readonly number[], secondsToRead = 0): [number, number] {
  const train = { size: SIZE, numImages } as FitImages['train'];
  const heldOut = { size: SIZE, numImages: 1 } as FitImages['heldOut'];
  const images = { train, heldOut, classes: ['a'], fingerprint: 'x' } as FitImages;
  let asked = 0;
  const secondsLeft = () => seconds[Math.min(asked++, seconds.length - 1)]!;
  const { tokenizer, generator, measured } = makePlan(images, SAMPLE, { secondsLeft, secondsToRead, seed: 0, tokenizer: 'auto', shipped: undefined }); // biome-ignore format: one row
  expect(measured.secondsPerImageOfTokens).toBeGreaterThan(0);
  return [tokenizer.training!.totalSteps, generator.training.totalSteps];
}

test('a tokenizer that is asked for and not there is an error', () => {
  const images = { train: { size: SIZE } } as FitImages;
  const options = { secondsLeft: () => 60, seed: 0, tokenizer: 'keep', shipped: undefined } as const;
  expect(() => makePlan(images, SAMPLE, options)).toThrow('--tokenizer keep: no tokenizer is shipped for 16 px');
});

test('time is planned that is left after measuring and after turning all images into tokens', () => {
  setNumThreads(1);
  const [tokenizer, generator] = stepsOf(100, [600]);
  expect(Math.min(tokenizer, generator)).toBeGreaterThan(30);
  expect(stepsOf(100, [600, 1])).toEqual([10, 10]);
  expect(stepsOf(1e9, [600])).toEqual([10, 10]);
  expect(stepsOf(100, [600], 6)).toEqual([10, 10]);
}, 120_000);
