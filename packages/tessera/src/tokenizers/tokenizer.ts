/**
 * What every tokenizer is to the rest of the house: images to tokens and back. Pixels come in and go out in [0, 1]
 * (design rule 8); each tokenizer converts to the range that its network was trained on, at its own boundary.
 *
 * A tokenizer gives the network half (image to latent, codes to image) and its quantizer; encoding, decoding and the
 * checks of shapes are the same for all and written here once.
 */

import { cat, scope, type Tensor, zeros } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import { Module } from '../nn/module.ts';
import type { Quantized, VectorQuantizer } from './quantizer.ts';
import type { Probe } from './steps.ts';
import { TokenizerError } from './tokenizer-error.ts';

export abstract class Tokenizer extends Module {
  /** Its row of the registry. */
  abstract readonly family: string;
  /** What `config.json` says of it. */
  abstract readonly config: Readonly<Record<string, unknown>>;
  abstract readonly quantizer: VectorQuantizer;
  /** Pixels of one token's side. */
  abstract readonly downsampleFactor: number;

  /** images — [N, 3, Y, X] float32 in the network's range; returns the latent before quantization, [N, d, y, x]. */
  abstract encodeToLatent(images: Tensor, probe?: Probe): Tensor;
  /** quantized — [N, d, y, x]; returns images [N, 3, Y, X] float32, nominally in the network's range, not clamped. */
  abstract decodeLatent(quantized: Tensor, probe?: Probe): Tensor;
  /** The same for one image, in bands of `tokenRows` rows of the grid; equal but for rounding. */
  abstract decodeLatentInBands(quantized: Tensor, tokenRows: number): Tensor;
  /** [0, 1] to the network's range. */
  abstract toNetwork(images: Tensor): Tensor;
  /** The network's range to [0, 1], clamped. */
  abstract fromNetwork(images: Tensor): Tensor;

  /** The network's range to [-1, 1], not clamped, which the training losses expect; that is the range of most. */
  toLossRange(images: Tensor): Tensor {
    return images;
  }

  /** V. */
  get codebookSize(): number {
    return this.quantizer.table.size(0);
  }

  /** Refuses picture sizes that do not give a whole token grid; returns the grid's rows and columns. */
  grid(height: number, width: number): [rows: number, columns: number] {
    return wholeGrid(this.downsampleFactor, height, width);
  }

  /** images — [N, 3, Y, X] float32 in [0, 1]; returns tokens [N, L] int64, row by row, L = (Y / factor) · (X / factor). */
  encode(images: Tensor): Tensor {
    const { shape } = images;
    if (shape.length !== 4 || shape[1] !== 3) {
      throw new TokenizerError('IMAGE_SHAPE', `Expected images of shape [N, 3, Y, X], got [${shape.join(', ')}].`);
    }
    const [rows, columns] = this.grid(shape[2]!, shape[3]!);
    if (shape[0] === 0) return zeros([0, rows * columns], { dtype: 'int64', device: this.device });
    return this.quantizer.tokens(this.encodeToLatent(this.toNetwork(beside(images, this))));
  }

  /**
   * tokens — [N, L] int64, a square grid unless `grid` gives [rows, columns]; returns images [N, 3, Y, X] float32,
   * clamped to [0, 1].
   */
  decode(tokens: Tensor, grid?: readonly [rows: number, columns: number]): Tensor {
    const [rows, columns] = gridOf(tokens, grid);
    return this.fromNetwork(this.decodeLatent(this.quantizer.lookUp(beside(tokens, this), rows, columns)));
  }

  /**
   * The same image by image, in bands of `tokenRows` rows of the grid where there are more: for large pictures. Memory is
   * that of two maps of the widest layer and a band, where `decode` holds five such maps and more. Call it under noGrad.
   */
  decodeInBands(tokens: Tensor, grid: readonly [rows: number, columns: number], tokenRows: number): Tensor {
    const [rows, columns] = gridOf(tokens, grid);
    if (!(Number.isInteger(tokenRows) && tokenRows >= 1)) {
      throw new TokenizerError('BANDS', `Expected bands of 1 row of tokens or more, got ${tokenRows}.`);
    }
    if (rows <= tokenRows || tokens.size(0) === 0) return this.decode(tokens, grid);
    const images = Array.from({ length: tokens.size(0) }, (_, n) =>
      scope(() => {
        const codes = this.quantizer.lookUp(beside(tokens.narrow(0, n, 1), this), rows, columns);
        return this.fromNetwork(this.decodeLatentInBands(codes, tokenRows)).contiguous();
      }),
    );
    return images.length === 1 ? images[0]! : cat(images);
  }

  /** The same in the network's own range, not clamped: what the original scripts round to pixels. */
  decodeUnclamped(tokens: Tensor, grid?: readonly [rows: number, columns: number]): Tensor {
    const [rows, columns] = gridOf(tokens, grid);
    return this.decodeLatent(this.quantizer.lookUp(beside(tokens, this), rows, columns));
  }

  /** Encodes and decodes: images — [N, 3, Y, X] float32 in [0, 1] to the same. */
  reconstruct(images: Tensor): Tensor {
    const tokens = this.encode(images);
    return this.decode(tokens, this.grid(images.size(2), images.size(3)));
  }

  /** latent — [N, d, y, x]. */
  quantize(latent: Tensor): Quantized {
    return this.quantizer.quantize(latent);
  }
}

/** Rows and columns of the token grid of a picture; sides must be multiples of `factor`. */
export function wholeGrid(factor: number, height: number, width: number): [rows: number, columns: number] {
  for (const side of [height, width]) {
    if (side < factor || side % factor !== 0) {
      throw new TokenizerError(
        'IMAGE_SIZE',
        `Expected image sides that are multiples of ${factor} (${Math.log2(factor)} halvings), got ${width}×${height}. ` +
          `Resize the images, or choose a tokenizer with fewer halvings.`,
      );
    }
  }
  return [height / factor, width / factor];
}

function gridOf(tokens: Tensor, grid: readonly [number, number] | undefined): readonly [number, number] {
  const { shape } = tokens;
  if (shape.length !== 2) {
    throw new TokenizerError('TOKEN_SHAPE', `Expected tokens of shape [N, L], got [${shape.join(', ')}].`);
  }
  const length = shape[1]!;
  const side = Math.round(Math.sqrt(length));
  const [rows, columns] = grid ?? [side, side];
  if (rows * columns !== length) {
    throw new TokenizerError(
      'TOKEN_GRID',
      grid === undefined
        ? `Expected a square number of tokens, got ${length}. Give the grid as [rows, columns].`
        : `Expected ${rows}·${columns} = ${rows * columns} tokens for a grid of ${rows} rows, got ${length}.`,
    );
  }
  return [rows, columns];
}
