import { describe, expect, it } from 'vitest';
import { portableExp, portableLog } from './portable-math.ts';

const view = new DataView(new ArrayBuffer(8));
function bits(x: number): string {
  view.setFloat64(0, x);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}

describe('portableLog', () => {
  // The bits come from a second implementation (Python floats, which round after every operation).
  it.each([
    [0.5, 'bfe62e42fefa39ef'],
    [2, '3fe62e42fefa39ef'],
    [0.1, 'c0026bb1bbb55515'],
    [3, '3ff193ea7aad030b'],
    [1 + 2 ** -52, '3cb0000000000000'],
    [1 - 2 ** -53, 'bca0000000000000'],
    [2.2250738585072014e-308, 'c086232bdd7abcd2'],
    [Number.MAX_VALUE, '40862e42fefa39ef'],
    [Math.SQRT2, '3fd62e42fefa39f0'],
    [2 ** -33, 'c036dfb516f20bbf'],
    [1 - 2 ** -33, 'bde0000000040000'],
    [1e-10, 'c037069e2aa2aa5b'],
  ])('log(%d) has the golden bits', (x, golden) => {
    expect(bits(portableLog(x))).toBe(golden);
  });

  it('is exactly 0 at 1', () => {
    expect(bits(portableLog(1))).toBe('0000000000000000');
  });

  it('is within 1e-15 of Math.log, near 1 too', () => {
    let worst = 0;
    const check = (x: number) => {
      const exact = Math.log(x);
      if (exact !== 0) worst = Math.max(worst, Math.abs(portableLog(x) - exact) / Math.abs(exact));
    };
    for (let i = 1; i < 200000; i++) check((i * 7919.13) / 200000 + 1e-9);
    for (let i = 0; i < 100000; i++) check((i + 0.5) / 100000);
    for (let e = -52; e <= -1; e++) {
      for (let j = 1; j <= 50; j++) {
        check(1 + 2 ** e * (1 + j / 53));
        check(1 - 2 ** (e - 1) * (1 + j / 53));
      }
    }
    for (let e = -1022; e < 1024; e++) for (const m of [1, 1.2, 1.4, 1.42, 1.9999]) check(m * 2 ** e);
    expect(worst).toBeLessThan(1e-15);
    expect(worst).toBeGreaterThan(0);
  });

  it.each([0, -0, -1, Number.NaN, Number.POSITIVE_INFINITY, 5e-324, 2.2250738585072009e-308])('refuses %d', (x) => {
    expect(() => portableLog(x)).toThrow(/positive, finite, normal/);
  });
});

describe('portableExp', () => {
  it('is within 2e-15 of Math.exp', () => {
    let worst = 0;
    for (let i = -70000; i <= 70000; i++) {
      const x = i / 100 + 0.00123;
      if (Math.abs(x) > 700) continue;
      worst = Math.max(worst, Math.abs(portableExp(x) / Math.exp(x) - 1));
    }
    expect(worst).toBeLessThan(2e-15);
    expect(portableExp(0)).toBe(1);
  });

  it.each([701, -701, Number.NaN])('refuses %d', (x) => {
    expect(() => portableExp(x)).toThrow(/\[-700, 700\]/);
  });
});
