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
import type { ParameterBuilder } from '../nn/module.ts';
import { VectorQuantizer } from './quantizer.ts';
import type { Probe } from './steps.ts';
import { Tokenizer } from './tokenizer.ts';
import { downsampleFactor, type VqConfig } from './vq-config.ts';
import { VqDecoder } from './vq-decoder.ts';
import { VqEncoder } from './vq-encoder.ts';

export class LlamaGenVq extends Tokenizer {
  readonly family = 'llamagen-vq';
  readonly config: VqConfig;
  readonly quantizer: VectorQuantizer;
  readonly downsampleFactor: number;
  private readonly encoder: VqEncoder;
  private readonly decoder: VqDecoder;
  private readonly quantConv: Conv2d;
  private readonly postQuantConv: Conv2d;

  constructor(config: VqConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    this.downsampleFactor = downsampleFactor(config);
    this.encoder = new VqEncoder(p.child('encoder'), config);
    this.decoder = new VqDecoder(p.child('decoder'), config);
    this.quantizer = new VectorQuantizer(p.child('quantize'), config);
    this.quantConv = new Conv2d(p.child('quant_conv'), config.latentChannels, config.codeDim, 1);
    this.postQuantConv = new Conv2d(p.child('post_quant_conv'), config.codeDim, config.latentChannels, 1);
  }

  /** images — [N, 3, Y, X] float32 in [-1, 1]; returns the latent before quantization, [N, codeDim, y, x]. */
  encodeToLatent(images: Tensor, probe?: Probe): Tensor {
    const latent = this.quantConv.forward(this.encoder.forward(images, probe));
    probe?.('quantConv', latent);
    return latent;
  }

  /** quantized — [N, codeDim, y, x]; returns images [N, 3, Y, X] float32, nominally in [-1, 1], not clamped. */
  decodeLatent(quantized: Tensor, probe?: Probe): Tensor {
    return this.decoder.forward(this.postQuantConv.forward(quantized), probe);
  }

  decodeLatentInBands(quantized: Tensor, tokenRows: number): Tensor {
    return this.decoder.forwardBands(this.postQuantConv.forward(quantized), tokenRows);
  }

  toNetwork(images: Tensor): Tensor {
    return toNetworkRange(images);
  }

  fromNetwork(images: Tensor): Tensor {
    return fromNetworkRange(images);
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
