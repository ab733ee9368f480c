/**
 * The noise of sampling: a pure function of (seed, image index, step, position, code, purpose).
 *
 * Nothing is drawn in sequence, so image i of seed s is the same in any batch, on any machine and
 * in any runtime. The layout is fixed; changing it changes every image ever made:
 *
 *   key     = [seed mod 2^32, floor(seed / 2^32)]           seed < 2^53: the top 11 bits are zero
 *   counter = [code >>> 2, position, imageIndex, step | purpose << 16]
 *   word    = Philox4x32-10(counter, key)[code & 3]
 *   u = (word + 0.5) / 2^32       e = -log(u)       g = -log(-log(u))          all in float64
 *
 * log is `portableLog`. Exponentials serve argmax(p / e), a draw from p; Gumbels the choice of
 * positions. Other uses of Philox here set a top key bit (see draws.ts) and so never meet these words.
 */

import { philox4x32 } from './philox.ts';
import { portableLog } from './portable-math.ts';
import { requireInteger, ScheduleError } from './schedule-error.ts';

/** What a noise value is for. Values are part of the layout: append, never renumber. */
export const NoisePurpose = {
  /** Which code a position gets: exponential noise over codes. */
  SAMPLE: 0,
  /** Which positions are masked again: Gumbel noise on the confidence, code 0. */
  CHOICE: 1,
  /** Class labels of images for which none was asked. */
  LABEL: 2,
} as const;

/** The address of one noise value. Image i of a run has the same noise whatever batch it is in. */
export interface NoiseAddress {
  /** Safe integer >= 0. */
  seed: number;
  /** Index of the image in the whole run, not in the batch; [0, 2^32). */
  imageIndex: number;
  /** Sampling step from 0; [0, 65536). */
  step: number;
  /** Token position, row-major; [0, 2^32). */
  position: number;
  /** Codebook entry; [0, 2^32). */
  code: number;
  /** [0, 65536); one of `NoisePurpose` or a caller's own. */
  purpose: number;
}

const TWO_32 = 4294967296;
const block = new Uint32Array(4);

/** The 32 random bits at an address, in [0, 2^32). */
export function noiseBits(address: NoiseAddress): number {
  const { seed, imageIndex, step, position, code, purpose } = address;
  checkAddress(seed, imageIndex, step, purpose);
  requireInteger(position, 0, TWO_32 - 1, 'noise position');
  requireInteger(code, 0, TWO_32 - 1, 'noise code');
  philox4x32(block, 0, code >>> 2, position, imageIndex, step | (purpose << 16), seed >>> 0, keyHigh(seed));
  return block[code & 3]!;
}

/** Uniform in (0, 1), exact: the middle of one of 2^32 equal cells. `word` in [0, 2^32). */
export function uniformFromBits(word: number): number {
  return (word + 0.5) / TWO_32;
}

/** Exp(1) in (1.1e-10, 22.9). */
export function exponentialFromBits(word: number): number {
  return -portableLog(uniformFromBits(word));
}

/** Standard Gumbel in (-3.2, 22.9). */
export function gumbelFromBits(word: number): number {
  return -portableLog(-portableLog(uniformFromBits(word)));
}

export interface ExponentialNoise {
  seed: number;
  imageIndex: number;
  step: number;
  /** The token positions wanted, in the order of the rows. */
  positions: ArrayLike<number>;
  /** V, the number of codes. */
  numCodes: number;
  /** Default `NoisePurpose.SAMPLE`. */
  purpose?: number;
}

/**
 * Fills `out` with Exp(1) noise for one image and step: out — [positions.length, numCodes] float32,
 * row-major, each value computed in float64 and rounded once.
 */
export function fillExponential(out: Float32Array, noise: ExponentialNoise): void {
  const { seed, imageIndex, step, positions, numCodes, purpose = NoisePurpose.SAMPLE } = noise;
  checkAddress(seed, imageIndex, step, purpose);
  requireInteger(numCodes, 1, TWO_32 - 1, 'numCodes');
  checkSize(out.length, positions.length * numCodes, `positions ${positions.length} x codes ${numCodes}`);
  const k0 = seed >>> 0;
  const k1 = keyHigh(seed);
  const c3 = step | (purpose << 16);
  let at = 0;
  for (let row = 0; row < positions.length; row++) {
    const position = positions[row]!;
    requireInteger(position, 0, TWO_32 - 1, 'noise position');
    for (let code = 0; code < numCodes; code += 4) {
      philox4x32(block, 0, code >>> 2, position, imageIndex, c3, k0, k1);
      const lanes = Math.min(4, numCodes - code);
      for (let lane = 0; lane < lanes; lane++) out[at++] = exponentialFromBits(block[lane]!);
    }
  }
}

export interface GumbelNoise {
  seed: number;
  imageIndex: number;
  step: number;
  /** L; positions 0 .. L-1 are filled. */
  numPositions: number;
  /** Default `NoisePurpose.CHOICE`. */
  purpose?: number;
}

/** Fills `out` with standard Gumbel noise for one image and step: out — [numPositions] float64, at code 0. */
export function fillGumbel(out: Float64Array, noise: GumbelNoise): void {
  const { seed, imageIndex, step, numPositions, purpose = NoisePurpose.CHOICE } = noise;
  checkAddress(seed, imageIndex, step, purpose);
  requireInteger(numPositions, 0, TWO_32, 'numPositions');
  checkSize(out.length, numPositions, `positions ${numPositions}`);
  const k0 = seed >>> 0;
  const k1 = keyHigh(seed);
  const c3 = step | (purpose << 16);
  for (let position = 0; position < numPositions; position++) {
    philox4x32(block, 0, 0, position, imageIndex, c3, k0, k1);
    out[position] = gumbelFromBits(block[0]!);
  }
}

/** Upper key word of a seed; `seed >>> 0` is the lower one. */
export function keyHigh(seed: number): number {
  return Math.floor(seed / TWO_32);
}

function checkAddress(seed: number, imageIndex: number, step: number, purpose: number): void {
  requireInteger(seed, 0, Number.MAX_SAFE_INTEGER, 'seed');
  requireInteger(imageIndex, 0, TWO_32 - 1, 'imageIndex');
  requireInteger(step, 0, 65535, 'noise step');
  requireInteger(purpose, 0, 65535, 'noise purpose');
}

function checkSize(got: number, expected: number, what: string): void {
  if (got !== expected) {
    throw new ScheduleError('buffer-size', `Expected a noise buffer of ${expected} values (${what}), got ${got}`);
  }
}
