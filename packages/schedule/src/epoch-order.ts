/**
 * Data order without a list: item number `index` of epoch `epoch`, computed alone.
 *
 * A keyed pseudo-random permutation of [0, numItems): a balanced Feistel network over the next
 * power of four, whose round function is Philox, with cycle walking (an output outside the range
 * is put through again; Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Resume
 * and any number of ranks need only the index; ImageNet's order takes no memory.
 *
 * Layout: F(half, round) = lane 0 of Philox4x32-10(counter = [half, round, epoch, numItems mod 2^32],
 * key = [seed low, seed high | 2^30]), cut to the width of a half.
 */

import { keyHigh } from './noise.ts';
import { philox4x32 } from './philox.ts';
import { requireInteger } from './schedule-error.ts';

/** Sets this use of a seed apart from noise.ts (no bit) and draws.ts (2^31). */
const ORDER_KEY_BIT = 0x40000000;
/** Four rounds suffice in theory for wide halves (Luby-Rackoff); small data sets have narrow ones. */
const NUM_ROUNDS = 10;
const TWO_32 = 4294967296;
/** Halves of 24 bits: 2.8e14 items. */
const MAX_ITEMS = 2 ** 48;

const block = new Uint32Array(4);

/**
 * The item at place `index` of the order of `epoch`; for index = 0 .. numItems-1 each item comes once.
 *
 * seed: safe integer >= 0; epoch: [0, 2^32); index: [0, numItems); numItems: [1, 2^48].
 */
export function epochOrder(seed: number, epoch: number, index: number, numItems: number): number {
  requireInteger(seed, 0, Number.MAX_SAFE_INTEGER, 'seed');
  requireInteger(epoch, 0, TWO_32 - 1, 'epoch');
  requireInteger(numItems, 1, MAX_ITEMS, 'numItems');
  requireInteger(index, 0, numItems - 1, 'index');
  let half = 1;
  while (4 ** half < numItems) half += 1;
  const size = 2 ** half;
  const k1 = keyHigh(seed) | ORDER_KEY_BIT;
  let item = index;
  do {
    let left = Math.floor(item / size);
    let right = item % size;
    for (let round = 0; round < NUM_ROUNDS; round++) {
      philox4x32(block, 0, right, round, epoch, numItems, seed, k1);
      const next = left ^ (block[0]! & (size - 1));
      left = right;
      right = next;
    }
    item = left * size + right;
  } while (item >= numItems);
  return item;
}
