/**
 * Random decisions of training: a small stream that is a function of (seed, step, shard, purpose).
 *
 * A stream is made afresh at each step and for each logical shard, so resuming needs no saved
 * generator and any number of ranks draws the same numbers. Word n of a stream is lane n & 3 of
 *
 *   Philox4x32-10(counter = [n >>> 2, shard, step, purpose], key = [seed low, seed high | 2^31])
 *
 * The key bit 2^31 keeps these words apart from the noise of sampling (a seed has 53 bits; noise.ts).
 * How many words a call uses may depend on the words (rejection), never on anything else; all real
 * arithmetic is + - * /, sqrt and portable-math.ts, so the values are the same in every runtime.
 */

import { keyHigh, uniformFromBits } from './noise.ts';
import { philox4x32 } from './philox.ts';
import { portableExp, portableLog } from './portable-math.ts';
import { requireInteger, requireNumber } from './schedule-error.ts';

/** What a stream decides. Values are part of the layout: append, never renumber. */
export const DrawPurpose = {
  /** Mask ratio (or count) of training. */
  MASK_RATIO: 0,
  /** Which positions are masked. */
  MASK_POSITIONS: 1,
  /** Whether a step trains temporal reuse, and how many visible tokens are hidden for it. */
  REUSE: 2,
  /** Which labels are dropped for guidance. */
  LABEL_DROP: 3,
  /** Flips and crops. */
  AUGMENT: 4,
  /** A seed for torch's generator: dropout. */
  DROPOUT: 5,
  /** Reviving dead codebook entries. */
  CODEBOOK: 6,
  /** Which hidden visible tokens make the previous step of temporal reuse. */
  REUSE_POSITIONS: 7,
  /** Candidates of a search of strategies; the step is the search's own generation or round. */
  SEARCH: 16,
  /** Which tokens a variation of a picture makes anew. */
  VARIATION: 64,
} as const;

const DRAWS_KEY_BIT = 0x80000000;
const TWO_32 = 4294967296;

export class Draws {
  readonly #k0: number;
  readonly #k1: number;
  readonly #shard: number;
  readonly #step: number;
  readonly #purpose: number;
  readonly #words = new Uint32Array(4);
  #block = 0;
  #lane = 4;
  #spareNormal: number | undefined;

  /** seed: safe integer >= 0; step, shard, purpose: [0, 2^32). */
  constructor(seed: number, step: number, shard: number, purpose: number) {
    requireInteger(seed, 0, Number.MAX_SAFE_INTEGER, 'seed');
    requireInteger(step, 0, TWO_32 - 1, 'step');
    requireInteger(shard, 0, TWO_32 - 1, 'shard');
    requireInteger(purpose, 0, TWO_32 - 1, 'purpose');
    this.#k0 = seed >>> 0;
    this.#k1 = keyHigh(seed) | DRAWS_KEY_BIT;
    this.#step = step;
    this.#shard = shard;
    this.#purpose = purpose;
  }

  /** The next 32 random bits, in [0, 2^32). */
  word(): number {
    if (this.#lane === 4) {
      requireInteger(this.#block, 0, TWO_32 - 1, 'the number of blocks drawn from one stream');
      philox4x32(this.#words, 0, this.#block, this.#shard, this.#step, this.#purpose, this.#k0, this.#k1);
      this.#block += 1;
      this.#lane = 0;
    }
    return this.#words[this.#lane++]!;
  }

  /** Uniform in (0, 1), one of 2^32 cell middles. */
  uniform(): number {
    return uniformFromBits(this.word());
  }

  /** Uniform integer in [0, n), without bias; n in [1, 2^32]. */
  integer(n: number): number {
    requireInteger(n, 1, TWO_32, 'the bound of integer(n)');
    // The largest multiple of n: words from there on would favour small results and are thrown away.
    const limit = TWO_32 - (TWO_32 % n);
    let word = this.word();
    while (word >= limit) word = this.word();
    return word % n;
  }

  /** True with probability p in [0, 1]; always uses one word. */
  coin(p: number): boolean {
    requireNumber(p, 0, 1, 'the probability of coin(p)');
    return this.uniform() < p;
  }

  /** Standard normal, by Marsaglia's polar method (two values a round; the second is kept). */
  normal(): number {
    if (this.#spareNormal !== undefined) {
      const spare = this.#spareNormal;
      this.#spareNormal = undefined;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const r = x * x + y * y;
      if (r >= 1 || r === 0) continue;
      const factor = Math.sqrt((-2 * portableLog(r)) / r);
      this.#spareNormal = y * factor;
      return x * factor;
    }
  }

  /** Gamma(alpha, 1), alpha in [0.01, 1e6]: Marsaglia & Tsang (ACM TOMS 2000); below 1 by their power of a uniform. */
  gamma(alpha: number): number {
    requireNumber(alpha, 0.01, 1e6, 'alpha of gamma(alpha)');
    if (alpha < 1) {
      const boosted = this.gamma(alpha + 1);
      // Down to e^-700; below that (possible only for alpha under 0.04) the value is as good as 0.
      return boosted * portableExp(Math.max(-700, portableLog(this.uniform()) / alpha));
    }
    const d = alpha - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal();
      const t = 1 + c * x;
      if (t <= 0) continue;
      const v = t * t * t;
      if (portableLog(this.uniform()) < 0.5 * x * x + d - d * v + d * portableLog(v)) return d * v;
    }
  }

  /** Beta(a, b) in [0, 1], as the share of one of two gammas; a, b in [0.01, 1e6]. */
  beta(a: number, b: number): number {
    const x = this.gamma(a);
    const y = this.gamma(b);
    return x / (x + y);
  }

  /** A uniformly random order of 0 .. n-1 (Fisher-Yates) — [n] uint32. Its first k entries are a random k-subset. */
  permutation(n: number): Uint32Array {
    requireInteger(n, 0, TWO_32 - 1, 'the length of permutation(n)');
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[i] = i;
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const kept = order[i]!;
      order[i] = order[j]!;
      order[j] = kept;
    }
    return order;
  }
}
