/** The addon's noise and @tessera/schedule's are one function: bit for bit, since parity and golden sets rest on it. */

import { fillExponential, fillGumbel, NoisePurpose } from '@tessera/schedule';
import { expect, test } from 'vitest';
import { exponentialNoise, gumbelNoise, ones, scope, TensorError, tensor } from './index.ts';

const MAX32 = 2 ** 32 - 1;
const SEEDS = [0, 1, 2 ** 31, MAX32, 2 ** 32, 1234567890123, Number.MAX_SAFE_INTEGER];
const i64 = (values: Parameters<typeof tensor>[0]) => tensor(values, 'int64');

test.each(SEEDS)('Exp(1) noise of seed %d has the bits of fillExponential', (seed) => {
  const images = [0, 7, MAX32];
  const positions = [[0, 255], [5, 5], [MAX32, 1]]; // biome-ignore format: a row an image
  for (const numCodes of [1, 3, 4, 5, 64, 1023]) {
    for (const key of [
      { seed, step: 0 },
      { seed, step: 65535, purpose: 9 },
    ]) {
      const noise = scope(() => {
        const x = exponentialNoise(i64(images), i64(positions), numCodes, key);
        expect([x.shape, x.dtype]).toEqual([[3, 2, numCodes], 'float32']);
        return x.toTypedArray();
      });
      const expected = images.flatMap((imageIndex, b) => {
        const out = new Float32Array(2 * numCodes);
        fillExponential(out, { imageIndex, positions: positions[b]!, numCodes, purpose: NoisePurpose.SAMPLE, ...key });
        return Array.from(out);
      });
      expect(noise).toEqual(Float32Array.from(expected));
    }
  }
});

test.each(SEEDS)('Gumbel noise of seed %d has the bits of fillGumbel', (seed) => {
  const images = [0, 7, MAX32];
  for (const key of [
    { seed, step: 3 },
    { seed, step: 65535, purpose: 65535 },
  ]) {
    const noise = scope(() => {
      const x = gumbelNoise(i64(images), 257, key);
      expect([x.shape, x.dtype]).toEqual([[3, 257], 'float64']);
      return x.toTypedArray();
    });
    const expected = images.flatMap((imageIndex) => {
      const out = new Float64Array(257);
      fillGumbel(out, { imageIndex, numPositions: 257, purpose: NoisePurpose.CHOICE, ...key });
      return Array.from(out);
    });
    expect(noise).toEqual(Float64Array.from(expected));
  }
});

test('golden bits: those of the schedule package', () => {
  const hex = (x: number) => new BigUint64Array(Float64Array.of(x).buffer)[0]!.toString(16).padStart(16, '0');
  scope(() => {
    expect(hex(gumbelNoise(i64([0]), 64, { seed: 42, step: 0 }).toNumbers()[63]!)).toBe('3fe21c50a35fdc06');
    expect(hex(gumbelNoise(i64([99]), 6, { seed: 42, step: 7 }).toNumbers()[5]!)).toBe('bfb12197171fac15');
    const exponential = exponentialNoise(i64([7]), i64([[255]]), 1024, { seed: 1234567890123, step: 15 });
    const golden = new Float64Array(BigUint64Array.of(0x3fc507ca6c247f52n).buffer)[0]!;
    expect(exponential.toNumbers()[1023]).toBe(Math.fround(golden));
  });
});

test('an empty batch and no positions give empty noise', () => {
  scope(() => {
    const key = { seed: 1, step: 0 };
    expect(exponentialNoise(i64([]), ones([0, 3], { dtype: 'int64' }), 5, key).shape).toEqual([0, 3, 5]);
    expect(exponentialNoise(i64([1]), ones([1, 0], { dtype: 'int64' }), 5, key).shape).toEqual([1, 0, 5]);
    expect(gumbelNoise(i64([1]), 0, key).shape).toEqual([1, 0]);
  });
});

test.each([
  ['a negative seed', { seed: -1 }],
  ['a seed beyond 2^53', { seed: 2 ** 53 }],
  ['a fractional seed', { seed: 0.5 }],
  ['a step beyond 65535', { step: 65536 }],
  ['a negative step', { step: -1 }],
  ['a purpose beyond 65535', { purpose: 65536 }],
  ['no codes', { numCodes: 0 }],
  ['a fraction of codes', { numCodes: 1.5 }],
  ['more codes than memory', { numCodes: 2 ** 45 }],
  ['float images', { images: ones([1]) }],
  ['images of two dimensions', { images: i64([[1]]) }],
  ['positions of one dimension', { positions: i64([1]) }],
  ['another batch of positions', { positions: i64([[1], [2]]) }],
])('%s is refused', (_, bad) => {
  const good = { images: i64([0]), positions: i64([[0]]), numCodes: 4, seed: 1, step: 0 };
  const { images, positions, numCodes, ...key } = { ...good, ...bad };
  expect(() => exponentialNoise(images, positions, numCodes, key)).toThrow(TensorError);
  expect(() => exponentialNoise(images, positions, numCodes, key)).toThrow(/^exponentialNoise: /);
});
