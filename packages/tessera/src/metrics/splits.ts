/**
 * Orders and draws of metrics. numpy's `RandomState(seed).permutation(n)`, which fixes the order of torch-fidelity's
 * Inception Score: MT19937 (Matsumoto and Nishimura 1998) seeded by one word, then Fisher and Yates from the end with numbers
 * below a bound by masking and rejection. And our own draws for subsets and resampling, from Philox.
 */

import { Draws } from '@tessera/schedule';

/** Sets the draws of metrics apart from those of training. */
const METRICS = 0x6d657472;

/** A stream that is a function of the seed and its number alone. */
export function metricDraws(seed: number, stream: number): Draws {
  return new Draws(seed, 0, stream, METRICS);
}

/** `count` different integers below `bound`, in random order. */
export function drawSubset(draws: Draws, count: number, bound: number): number[] {
  const moved = new Map<number, number>();
  return Array.from({ length: count }, (_, i) => {
    const j = i + draws.integer(bound - i);
    const chosen = moved.get(j) ?? j;
    moved.set(j, moved.get(i) ?? i);
    return chosen;
  });
}

const WORDS = 624;
const MIDDLE = 397;

export function numpyPermutation(seed: number, count: number): Int32Array {
  const next = mersenneTwister(seed);
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const mask = 2 ** (32 - Math.clz32(i)) - 1;
    let j = (next() & mask) >>> 0;
    while (j > i) j = (next() & mask) >>> 0;
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(WORDS);
  state[0] = seed;
  for (let i = 1; i < WORDS; i++) {
    const last = state[i - 1]!;
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
  }
  let at = WORDS;
  const refill = (): void => {
    for (let i = 0; i < WORDS; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % WORDS]! & 0x7fffffff);
      state[i] = state[(i + MIDDLE) % WORDS]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    at = 0;
  };
  return () => {
    if (at === WORDS) refill();
    let y = state[at++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}
