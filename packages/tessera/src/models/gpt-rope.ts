/**
 * Rotary positions of LlamaGen's GPT (Su et al. 2021, in two dimensions; reference §3.3). A head's channels are pairs of
 * neighbours; the first half of the pairs turns by the row, the second by the column of the token, at frequencies
 * base^(-2k / half). The rows of condition tokens are zeros, cosine and sine alike: queries and keys there become
 * exactly 0, so a condition is attended to with score 0. Identity rows would change every result.
 *
 * A coarse level of next-patch prediction has a table of its own: integer coordinates of its own small grid, not
 * rescaled to the full one (reference §5.2).
 */

import { fromTypedArray, type Tensor, turnRows } from '@tessera/torch';

export interface RopeTable {
  /** [T + n, headDim]: cos of each channel's pair. */
  cos: Tensor;
  /** [T + n, headDim]: −sin in the first channel of a pair, sin in the second. */
  sin: Tensor;
}

/** Angles by row and pair as the released code computes them, in float32: [rows][pairs]. */
function anglesOf(coordinates: readonly (readonly number[])[], headDim: number, base: number): Float32Array[] {
  const axes = coordinates[0]?.length ?? 1;
  const perAxis = headDim / 2 / axes; // pairs that turn by one axis
  const frequencies = Float32Array.from({ length: perAxis }, (_, k) => {
    const exponent = Math.fround((2 * k) / (headDim / axes));
    return 1 / Math.fround(base ** exponent);
  });
  return coordinates.map((place) => {
    const angles = new Float32Array(axes * perAxis);
    for (let axis = 0; axis < axes; axis++) {
      for (let k = 0; k < perAxis; k++) angles[axis * perAxis + k] = place[axis]! * frequencies[k]!;
    }
    return angles;
  });
}

/** cos and sin by row and pair, zeros in the first `conditionTokens` rows: [T + n, headDim / 2, 2] float32, flat. */
export function ropeAngles(
  coordinates: readonly (readonly number[])[],
  headDim: number,
  base: number,
  conditionTokens: number,
): Float32Array {
  const pairs = headDim / 2;
  const table = new Float32Array((conditionTokens + coordinates.length) * pairs * 2);
  for (const [row, angles] of anglesOf(coordinates, headDim, base).entries()) {
    for (let pair = 0; pair < pairs; pair++) {
      const at = ((conditionTokens + row) * pairs + pair) * 2;
      table[at] = Math.cos(angles[pair]!);
      table[at + 1] = Math.sin(angles[pair]!);
    }
  }
  return table;
}

/** (row, column) of each cell of a square grid, row-major. */
export function gridCoordinates(gridSize: number): [number, number][] {
  return Array.from({ length: gridSize * gridSize }, (_, i) => [Math.floor(i / gridSize), i % gridSize]);
}

/** The table of a grid; headDim is a multiple of 4. */
export function ropeTable2d(gridSize: number, headDim: number, base: number, conditionTokens: number): RopeTable {
  return ropeTableOf(ropeAngles(gridCoordinates(gridSize), headDim, base, conditionTokens), headDim);
}

/** From cos and sin by pair, [rows, headDim / 2, 2] flat, to the form in which they are applied. */
export function ropeTableOf(pairs: Float32Array, headDim: number): RopeTable {
  const rows = pairs.length / headDim;
  const cos = new Float32Array(pairs.length);
  const sin = new Float32Array(pairs.length);
  for (let i = 0; i < pairs.length; i += 2) {
    cos[i] = pairs[i]!;
    cos[i + 1] = pairs[i]!;
    sin[i] = -pairs[i + 1]!;
    sin[i + 1] = pairs[i + 1]!;
  }
  return { cos: fromTypedArray(cos, [rows, headDim]), sin: fromTypedArray(sin, [rows, headDim]) };
}

/** Rows [start, start + length) of a table, as views. */
export function ropeRows({ cos, sin }: RopeTable, start: number, length: number): RopeTable {
  return { cos: cos.narrow(0, start, length), sin: sin.narrow(0, start, length) };
}

/** Turns the channels of x [B, S, H, K] by a table of S rows, or of any shape that broadcasts against x. */
export function applyRope(x: Tensor, { cos, sin }: RopeTable): Tensor {
  return turnRows(x, cos, sin);
}
