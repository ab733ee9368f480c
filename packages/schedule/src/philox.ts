/**
 * Philox4x32-10: four 32-bit random words as a pure function of a 128-bit counter and a 64-bit key.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011);
 * checked against the known-answer vectors published with Random123. Counter-based, so any number
 * can be computed alone and in any order: what makes image i independent of the batch it is in.
 *
 * JavaScript has no 32 x 32 -> 64 bit product. The low word is Math.imul; the high word is put
 * together from 16-bit halves, which stays in integer registers.
 */

const MULTIPLIER_0_HIGH = 0xd251;
const MULTIPLIER_0_LOW = 0x1f53;
const MULTIPLIER_1_HIGH = 0xcd9e;
const MULTIPLIER_1_LOW = 0x8d57;
const MULTIPLIER_0 = 0xd2511f53 | 0;
const MULTIPLIER_1 = 0xcd9e8d57 | 0;
/** Key increments: the golden ratio and sqrt(3) - 1, each times 2^32 (section 4.3 of the paper). */
const WEYL_0 = 0x9e3779b9 | 0;
const WEYL_1 = 0xbb67ae85 | 0;
const NUM_ROUNDS = 10;

/**
 * Writes the four words for one counter and key to out[offset .. offset + 3].
 *
 * c0..c3 (counter) and k0, k1 (key) are taken modulo 2^32, word 0 first; the result is in [0, 2^32).
 */
export function philox4x32(
  out: Uint32Array,
  offset: number,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  let x0 = c0 | 0;
  let x1 = c1 | 0;
  let x2 = c2 | 0;
  let x3 = c3 | 0;
  let key0 = k0 | 0;
  let key1 = k1 | 0;
  for (let round = 0; round < NUM_ROUNDS; round++) {
    const a = x0 & 0xffff;
    const b = x0 >>> 16;
    const ab = (Math.imul(b, MULTIPLIER_0_LOW) + (Math.imul(a, MULTIPLIER_0_LOW) >>> 16)) | 0;
    const aHigh = (Math.imul(a, MULTIPLIER_0_HIGH) + (ab & 0xffff)) | 0;
    const high0 = (Math.imul(b, MULTIPLIER_0_HIGH) + (ab >>> 16) + (aHigh >>> 16)) | 0;

    const c = x2 & 0xffff;
    const d = x2 >>> 16;
    const cd = (Math.imul(d, MULTIPLIER_1_LOW) + (Math.imul(c, MULTIPLIER_1_LOW) >>> 16)) | 0;
    const cHigh = (Math.imul(c, MULTIPLIER_1_HIGH) + (cd & 0xffff)) | 0;
    const high1 = (Math.imul(d, MULTIPLIER_1_HIGH) + (cd >>> 16) + (cHigh >>> 16)) | 0;

    const low0 = Math.imul(x0, MULTIPLIER_0);
    const low1 = Math.imul(x2, MULTIPLIER_1);
    x0 = high1 ^ x1 ^ key0;
    x1 = low1;
    x2 = high0 ^ x3 ^ key1;
    x3 = low0;
    key0 = (key0 + WEYL_0) | 0;
    key1 = (key1 + WEYL_1) | 0;
  }
  out[offset] = x0;
  out[offset + 1] = x1;
  out[offset + 2] = x2;
  out[offset + 3] = x3;
}
