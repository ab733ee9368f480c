/**
 * A fixed order of the tokens of a grid in which any first few are spread out evenly: the two-dimensional Halton sequence
 * (bases 2 and 3), each point taken to the cell it falls into, cells seen before passed over. Tokens revealed together
 * then lie far apart and hardly depend on each other (Besnier et al., ICLR 2025, arXiv 2503.17076, section 3).
 */

import { requireInteger } from './schedule-error.ts';

/** Rank of each position, row-major: the position of rank 0 comes first — [gridSize²], a permutation. */
export function haltonRanks(gridSize: number): Uint32Array {
  requireInteger(gridSize, 1, 4096, 'gridSize');
  const ranks = new Uint32Array(gridSize * gridSize);
  const seen = new Uint8Array(ranks.length);
  for (let rank = 0, index = 1; rank < ranks.length; index++) {
    const y = Math.floor(radicalInverse(index, 2) * gridSize);
    const x = Math.floor(radicalInverse(index, 3) * gridSize);
    const position = y * gridSize + x;
    if (seen[position] === 1) continue;
    seen[position] = 1;
    ranks[position] = rank++;
  }
  return ranks;
}

/** The digits of `index` in a base, mirrored behind the point: in [0, 1). */
export function radicalInverse(index: number, base: number): number {
  // Digits are gathered as one integer and divided once, so that equal fractions are equal numbers.
  let mirrored = 0;
  let scale = 1;
  for (let rest = index; rest > 0; rest = Math.floor(rest / base)) {
    mirrored = mirrored * base + (rest % base);
    scale *= base;
  }
  return mirrored / scale;
}
