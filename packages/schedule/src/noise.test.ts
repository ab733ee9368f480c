import { describe, expect, it } from 'vitest';
import {
  exponentialFromBits,
  fillExponential,
  fillGumbel,
  gumbelFromBits,
  type NoiseAddress,
  NoisePurpose,
  noiseBits,
  uniformFromBits,
} from './noise.ts';
import { ScheduleError } from './schedule-error.ts';

const view = new DataView(new ArrayBuffer(8));
function bits(x: number): string {
  view.setFloat64(0, x);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}

function address(a: readonly number[]): NoiseAddress {
  const [seed, imageIndex, step, position, code, purpose] = a as [number, number, number, number, number, number];
  return { seed, imageIndex, step, position, code, purpose };
}

const MAX32 = 0xffffffff;

describe('noise layout', () => {
  // Any port must reproduce these. [seed, image, step, position, code, purpose] -> word, bits of e, bits of g.
  it.each([
    [[0, 0, 0, 0, 0, 0], 0x6627e8d5, '3fed65ce2600bfc2', '3fb5b6c7ac8fd9d3'],
    [[1, 2, 3, 4, 5, 0], 0x10139691, '4006247db022acd0', 'bff049f87a32f692'],
    [[1234567890123, 7, 15, 255, 1023, 0], 0xd9367566, '3fc507ca6c247f52', '3ffce59eddcc3b40'],
    [[Number.MAX_SAFE_INTEGER, MAX32, 65535, MAX32, MAX32, 65535], 0xbe9d0f31, '3fd2e02039bed21e', '3ff3894af173f2a3'],
    [[42, 0, 0, 63, 0, 1], 0x911746fe, '3fe22b8e2ba35200', '3fe21c50a35fdc06'],
    [[42, 99, 7, 5, 0, 1], 0x57e133ca, '3ff11b7a879ca4ee', 'bfb12197171fac15'],
  ] as const)('address %j', (a, word, exponential, gumbel) => {
    expect(noiseBits(address(a))).toBe(word);
    expect(bits(exponentialFromBits(word))).toBe(exponential);
    expect(bits(gumbelFromBits(word))).toBe(gumbel);
  });

  it('maps the extreme words to finite values', () => {
    expect(uniformFromBits(0)).toBe(2 ** -33);
    expect(uniformFromBits(MAX32)).toBe(1 - 2 ** -33);
    expect(exponentialFromBits(0)).toBeCloseTo(33 * Math.LN2, 12);
    expect(exponentialFromBits(MAX32)).toBeCloseTo(2 ** -33 + 2 ** -67, 24);
    expect(gumbelFromBits(MAX32)).toBeCloseTo(33 * Math.LN2, 6);
    expect(gumbelFromBits(0)).toBeCloseTo(-Math.log(33 * Math.LN2), 12);
  });

  it.each([
    ['seed', { seed: -1 }],
    ['seed', { seed: 2 ** 53 }],
    ['imageIndex', { imageIndex: 2 ** 32 }],
    ['noise step', { step: 65536 }],
    ['noise step', { step: 1.5 }],
    ['noise position', { position: -1 }],
    ['noise code', { code: Number.NaN }],
    ['noise purpose', { purpose: 65536 }],
  ])('names the bad %s in %j', (what, bad) => {
    const good = address([1, 0, 0, 0, 0, 0]);
    expect(() => noiseBits({ ...good, ...bad })).toThrow(new RegExp(`Expected ${what} to be an integer`));
    expect(() => noiseBits({ ...good, ...bad })).toThrow(ScheduleError);
  });
});

describe('fillExponential', () => {
  it('equals the scalar function at every entry, for any number of codes', () => {
    for (const numCodes of [1, 3, 4, 10]) {
      const positions = [5, 0, 200];
      const out = new Float32Array(positions.length * numCodes);
      fillExponential(out, { seed: 9876543210, imageIndex: 3, step: 2, positions, numCodes });
      for (const [row, position] of positions.entries()) {
        for (let code = 0; code < numCodes; code++) {
          const word = noiseBits({ seed: 9876543210, imageIndex: 3, step: 2, position, code, purpose: 0 });
          expect(out[row * numCodes + code]).toBe(Math.fround(exponentialFromBits(word)));
        }
      }
    }
  });

  it('has the mean, variance and tail of Exp(1)', () => {
    const out = new Float32Array(64 * 1024);
    fillExponential(out, { seed: 1, imageIndex: 0, step: 0, positions: [...Array(64).keys()], numCodes: 1024 });
    const mean = out.reduce((a, b) => a + b, 0) / out.length;
    const variance = out.reduce((a, b) => a + (b - mean) ** 2, 0) / out.length;
    const tail = out.filter((e) => e > 2).length / out.length;
    expect(Math.abs(mean - 1)).toBeLessThan(4 / 256); // four standard errors
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
    expect(Math.abs(tail - Math.exp(-2))).toBeLessThan(0.006);
  });

  it('wants a buffer of exactly the right size', () => {
    const fill = () =>
      fillExponential(new Float32Array(7), { seed: 1, imageIndex: 0, step: 0, positions: [0, 1], numCodes: 4 });
    expect(fill).toThrow(/8 values \(positions 2 x codes 4\), got 7/);
  });
});

describe('fillGumbel', () => {
  it('equals the scalar function and is apart from the sampling noise', () => {
    const out = new Float64Array(256);
    fillGumbel(out, { seed: 42, imageIndex: 0, step: 0, numPositions: 256 });
    expect(bits(out[63]!)).toBe('3fe21c50a35fdc06');
    for (const position of [0, 17, 255]) {
      const at = { seed: 42, imageIndex: 0, step: 0, position, code: 0 };
      expect(out[position]).toBe(gumbelFromBits(noiseBits({ ...at, purpose: NoisePurpose.CHOICE })));
      expect(out[position]).not.toBe(gumbelFromBits(noiseBits({ ...at, purpose: NoisePurpose.SAMPLE })));
    }
  });

  it('has the mean of the Gumbel distribution', () => {
    const out = new Float64Array(50000);
    fillGumbel(out, { seed: 3, imageIndex: 1, step: 4, numPositions: out.length });
    const mean = out.reduce((a, b) => a + b, 0) / out.length;
    expect(Math.abs(mean - 0.5772156649)).toBeLessThan(0.023); // four standard errors
  });
});
