import { describe, expect, test } from 'vitest';
import { AffineFit, ratioOf, sumOf, textOf } from './affine.ts';

const PROBES = [{ B: 1, L: 2 }, { B: 2, L: 2 }, { B: 1, L: 5 }, { B: 4, L: 7 }]; // biome-ignore format: one row
const fit = new AffineFit(PROBES);
const fitted = (f: (B: number, L: number) => number) => fit.fit(PROBES.map(({ B, L }) => f(B, L)));

test.each([
  [(B: number) => B, 'B'],
  [(_: number, L: number) => 2 * L + 1, '2*L+1'],
  [(B: number, L: number) => 3 * B - L - 4, '3*B-1*L-4'],
  [() => -1, '-1'],
] as const)('%s', (f, text) => {
  const found = fitted(f as (B: number, L: number) => number)!;
  expect(textOf(found)).toBe(text);
});

test.each([
  ['a product', (B: number, L: number) => B * L],
  ['a half', (_: number, L: number) => Math.floor(L / 2)],
  ['a rounding', (B: number) => 2 * Math.ceil(B / 2)],
] as const)('%s is not affine', (_, f) => {
  expect(fitted(f)).toBeUndefined();
});

test('one wrong probe in any place is noticed', () => {
  for (let i = 0; i < PROBES.length; i++) {
    const values = PROBES.map(({ B, L }, j) => B + L + Number(i === j));
    expect(fit.fit(values)).toBeUndefined();
  }
});

test('sums and ratios', () => {
  const [b, l] = [fitted((B) => B)!, fitted((_, L) => 2 * L + 2)!];
  expect(textOf(sumOf(sumOf(b, l), 3))).toBe('B+2*L+5');
  expect(sumOf(b, fitted((B) => 4 - B)!)).toBe(4);
  expect(ratioOf(l, fitted((_, L) => L + 1)!)).toBe(2);
  expect(ratioOf(l, fitted((_, L) => L)!)).toBeUndefined();
  expect(ratioOf(l, b)).toBeUndefined();
  expect(ratioOf(6, 3)).toBe(2);
});

describe('probes that cannot tell', () => {
  test.each([
    ['too few', [{ L: 1 }, { L: 2 }], /at least 3 probes/],
    ['too few for two sizes', PROBES.slice(1), /at least 4 probes/],
    ['sizes that vary together', [{ B: 1, L: 1 }, { B: 2, L: 2 }, { B: 3, L: 3 }, { B: 4, L: 4 }], /independently/],
    ['other names', [...PROBES.slice(1), { B: 1, M: 1 }], /same named sizes/],
    ['a zero', [...PROBES.slice(1), { B: 0, L: 1 }], /whole numbers from 1/],
  ])('%s', (_, probes, message) => {
    expect(() => new AffineFit(probes as unknown as Record<string, number>[])).toThrow(message);
  }); // biome-ignore format: one row each
});
