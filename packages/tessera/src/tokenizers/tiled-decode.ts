/**
 * Decoding large pictures in bounded memory: overlapping tiles of the token grid are decoded one by one and blended, each
 * tile's weight falling linearly to zero across its overlap, so that no edge shows. Memory is that of one tile, whatever
 * the picture.
 *
 * It is not the whole decoder's result to the bit, and cannot be: GroupNorm takes its statistics, and attention its keys,
 * from the tile instead of the whole picture. A grid that fits one tile is decoded whole, exactly; a larger tile is closer
 * (the shipped tokenizer of 32 px on a smooth picture of 24×24 tokens: 21, 26 and 30 dB between the two for tiles of 8, 16
 * and 20). It is no worse for that: to the picture itself, tiles were as near as the whole decode or nearer.
 */

import { arange, scope, type Tensor, zeros } from '@tessera/torch';
import type { Tokenizer } from './tokenizer.ts';
import { TokenizerError } from './tokenizer-error.ts';

export interface TileOptions {
  /** Tokens of a tile's side; default 32, which is 512 px at 16 px a token. */
  tile?: number;
  /** Tokens that neighbours share; default a quarter of a tile. */
  overlap?: number;
}

const DEFAULT_TILE = 32;

/** tokens — [N, L] int64 of a `grid`; returns images [N, 3, Y, X] float32 in [0, 1]. Call it under noGrad, in a scope. */
export function decodeTiled(
  tokenizer: Tokenizer,
  tokens: Tensor,
  grid: readonly [rows: number, columns: number],
  options: TileOptions = {},
): Tensor {
  const { tile = DEFAULT_TILE, overlap = Math.floor(tile / 4) } = options;
  if (!(Number.isInteger(tile) && Number.isInteger(overlap) && overlap >= 0 && 2 * overlap <= tile && tile >= 1)) {
    throw new TokenizerError(
      'TILE',
      `Expected a tile of at least 1 token and an overlap of at most half of it, got ${tile} and ${overlap}.`,
    );
  }
  const [rows, columns] = grid;
  if (rows <= tile && columns <= tile) return tokenizer.decode(tokens, grid);
  const factor = tokenizer.downsampleFactor;
  const count = tokens.size(0);
  const plane = tokens.view([count, rows, columns]);
  const sum = zeros([count, 3, rows * factor, columns * factor]);
  const weights = zeros([1, 1, rows * factor, columns * factor]);
  for (const [top, height] of spans(rows, tile, overlap)) {
    for (const [left, width] of spans(columns, tile, overlap)) {
      scope(() => {
        const weight = ramp(height, overlap, factor)
          .view([1, 1, -1, 1])
          .mul(ramp(width, overlap, factor));
        const place = (whole: Tensor): Tensor =>
          whole.narrow(2, top * factor, height * factor).narrow(3, left * factor, width * factor);
        place(weights).add_(weight);
        // One picture at a time: a batch would multiply the memory that this is to bound.
        for (let n = 0; n < count; n++) {
          scope(() => {
            const part = plane.narrow(0, n, 1).narrow(1, top, height).narrow(2, left, width);
            const picture = tokenizer.decode(part.reshape([1, height * width]), [height, width]);
            place(sum.narrow(0, n, 1)).add_(picture.mul(weight));
          });
        }
      });
    }
  }
  return sum.div(weights);
}

/** Starts and lengths that cover `length`, neighbours sharing at least `overlap`. */
function spans(length: number, tile: number, overlap: number): [start: number, length: number][] {
  if (length <= tile) return [[0, length]];
  const steps = Math.ceil((length - tile) / Math.max(1, tile - overlap));
  return Array.from({ length: steps + 1 }, (_, i) => [Math.round((i * (length - tile)) / steps), tile]);
}

/** Weights of the pixels along a tile's side: up across the overlap, one inside, down again. Never zero. */
function ramp(tokens: number, overlap: number, factor: number): Tensor {
  const length = tokens * factor;
  const width = Math.max(1, overlap * factor);
  const fromStart = arange(0, length, 1, { dtype: 'float32' }).add(0.5);
  const fromEnd = fromStart.neg().add(length);
  return fromStart.minimum(fromEnd).div(width).clamp(0, 1); // [length]
}
