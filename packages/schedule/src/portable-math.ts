/**
 * Logarithm and exponential with the same bits everywhere: JavaScript, C++, CUDA.
 *
 * Math.log may differ in its last bit between engines, and one bit can turn an argmax. These two
 * use only IEEE double + - * / in the order written here, and the exponent field of the number.
 * A port must keep that order and must not contract a * b + c into one rounding
 * (-ffp-contract=off, nvcc -fmad=false). Relative error below 1e-15, tested.
 *
 * Log: x = m * 2^k with m in [sqrt(1/2), sqrt(2)), s = (m-1)/(m+1), z = s^2,
 *      log m = 2s * (1 + z/3 + z^2/5 + ... + z^10/21); what is left out is below 1e-18 of it.
 * Exp: x = k ln 2 + r with |r| <= ln(2)/2, e^r by its Taylor series to r^15.
 */

import { ScheduleError } from './schedule-error.ts';

/** ln 2 = LN2_HI + LN2_LO; the first has 21 trailing zero bits, so that k * LN2_HI is exact for |k| < 2^20. */
const LN2_HI = 0.6931471803691238; // 0x3fe62e42 fee00000
const LN2_LO = 1.9082149292705877e-10; // 0x3dea39ef 35793c76
const INVERSE_LN2 = Math.LOG2E; // 0x3ff71547 652b82fe
const SQRT2 = Math.SQRT2; // 0x3ff6a09e 667f3bcd
const SMALLEST_NORMAL = 2.2250738585072014e-308;

const bits = new DataView(new ArrayBuffer(8));

/** Natural logarithm of a positive, finite, normal double; anything else throws. */
export function portableLog(x: number): number {
  if (!(x >= SMALLEST_NORMAL && x <= Number.MAX_VALUE)) {
    throw new ScheduleError(
      'argument-out-of-range',
      `Expected the argument of portableLog to be a positive, finite, normal double, got ${String(x)}`,
    );
  }
  bits.setFloat64(0, x);
  const high = bits.getUint32(0);
  let k = (high >>> 20) - 1023;
  bits.setUint32(0, (high & 0x000fffff) | 0x3ff00000);
  let m = bits.getFloat64(0); // [1, 2)
  if (m >= SQRT2) {
    m = m * 0.5;
    k = k + 1;
  }
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let p = 1 / 21;
  p = p * z + 1 / 19;
  p = p * z + 1 / 17;
  p = p * z + 1 / 15;
  p = p * z + 1 / 13;
  p = p * z + 1 / 11;
  p = p * z + 1 / 9;
  p = p * z + 1 / 7;
  p = p * z + 1 / 5;
  p = p * z + 1 / 3;
  const twice = 2 * s;
  const logM = twice + twice * (z * p);
  return k * LN2_HI + (k * LN2_LO + logM);
}

/** e^x for a finite x in [-700, 700]; anything else throws. */
export function portableExp(x: number): number {
  if (!(x >= -700 && x <= 700)) {
    throw new ScheduleError(
      'argument-out-of-range',
      `Expected the argument of portableExp to be in [-700, 700], got ${String(x)}`,
    );
  }
  const k = Math.floor(x * INVERSE_LN2 + 0.5);
  const r = x - k * LN2_HI - k * LN2_LO;
  let p = 1;
  for (let n = 15; n >= 1; n--) p = 1 + (p * r) / n;
  bits.setUint32(0, (k + 1023) << 20);
  bits.setUint32(4, 0);
  return p * bits.getFloat64(0);
}
