/**
 * The LlamaGen VQ tokenizer (Sun et al. 2024, arXiv 2406.06525, section 3.1; reference §1): encoder, vector quantizer,
 * decoder. Fully convolutional: any size whose sides are multiples of 2^halvings. Tensor names and order are the
 * official checkpoints', so VQ-16 and VQ-8 load strictly.
 *
 * Checked against the released implementation by the golden values of the kind vq-codec. Differences: width, depth,
 * attention and the usage buffer are configurable; pixels come in and go out in [0, 1] (the network's own range is
 * [-1, 1]); dropout, which every released model has at 0, is left out.
 */

import type { Tensor } from '@tessera/torch';
import { Conv2d } from '../nn/layers.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { type Quantized, VectorQuantizer } from './quantizer.ts';
import { TokenizerError } from './tokenizer-error.ts';
import type { Probe } from './vq-blocks.ts';
import { downsampleFactor, tokenGrid, type VqConfig } from './vq-config.ts';
import { VqDecoder } from './vq-decoder.ts';
import { VqEncoder } from './vq-encoder.ts';

export class LlamaGenVq extends Module {
  readonly config: VqConfig;
  readonly quantizer: VectorQuantizer;
  private readonly encoder: VqEncoder;
  private readonly decoder: VqDecoder;
  private readonly quantConv: Conv2d;
  private readonly postQuantConv: Conv2d;

  constructor(config: VqConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    this.encoder = new VqEncoder(p.child('encoder'), config);
    this.decoder = new VqDecoder(p.child('decoder'), config);
    this.quantizer = new VectorQuantizer(p.child('quantize'), config);
    this.quantConv = new Conv2d(p.child('quant_conv'), config.latentChannels, config.codeDim, 1);
    this.postQuantConv = new Conv2d(p.child('post_quant_conv'), config.codeDim, config.latentChannels, 1);
  }

  get codebookSize(): number {
    return this.config.codebookSize;
  }
  /** Pixels of one token's side. */
  get downsampleFactor(): number {
    return downsampleFactor(this.config);
  }

  /** images — [N, 3, Y, X] float32 in [0, 1]; returns tokens [N, L] int64, row by row, L = (Y / factor) · (X / factor). */
  encode(images: Tensor): Tensor {
    return this.quantizer.tokens(this.encodeToLatent(toNetworkRange(images)));
  }

  /**
   * tokens — [N, L] int64, a square grid unless `grid` gives [rows, columns]; returns images [N, 3, Y, X] float32,
   * clamped to [0, 1].
   */
  decode(tokens: Tensor, grid?: readonly [rows: number, columns: number]): Tensor {
    const [rows, columns] = gridOf(tokens, grid);
    return fromNetworkRange(this.decodeLatent(this.quantizer.lookUp(tokens, rows, columns)));
  }

  /** Encodes and decodes: images — [N, 3, Y, X] float32 in [0, 1] to the same. */
  reconstruct(images: Tensor): Tensor {
    const tokens = this.encode(images);
    return this.decode(tokens, tokenGrid(this.config, images.size(2), images.size(3)));
  }

  /** images — [N, 3, Y, X] float32 in [-1, 1]; returns the latent before quantization, [N, codeDim, y, x]. */
  encodeToLatent(images: Tensor, probe?: Probe): Tensor {
    const { shape } = images;
    if (shape.length !== 4 || shape[1] !== 3) {
      throw new TokenizerError('IMAGE_SHAPE', `Expected images of shape [N, 3, Y, X], got [${shape.join(', ')}].`);
    }
    tokenGrid(this.config, shape[2]!, shape[3]!);
    const latent = this.quantConv.forward(this.encoder.forward(images, probe));
    probe?.('quantConv', latent);
    return latent;
  }

  /** latent — [N, codeDim, y, x]. */
  quantize(latent: Tensor): Quantized {
    return this.quantizer.quantize(latent);
  }

  /** quantized — [N, codeDim, y, x]; returns images [N, 3, Y, X] float32, nominally in [-1, 1], not clamped. */
  decodeLatent(quantized: Tensor, probe?: Probe): Tensor {
    return this.decoder.forward(this.postQuantConv.forward(quantized), probe);
  }
}

/** [0, 1] to [-1, 1]. */
export function toNetworkRange(images: Tensor): Tensor {
  return images.mul(2).sub(1);
}

/** [-1, 1] to [0, 1], clamped. */
export function fromNetworkRange(images: Tensor): Tensor {
  return images.add(1).mul(0.5).clamp(0, 1);
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
