/** The layers that every family shares, each a few named tensors and a forward function. */

import {
  conv2d,
  embedding,
  groupNorm,
  isGradEnabled,
  keep,
  layerNorm,
  linear,
  linearInt8,
  linearTiles,
  packInt8,
  scope,
  type Tensor,
} from '@tessera/torch';
import { type Initialisation, ONES, ZEROS } from './initialisation.ts';
import type { ParameterBuilder, Quantizable } from './module.ts';

export class Linear implements Quantizable {
  readonly weight: Tensor; // [out, in]
  readonly bias: Tensor | undefined; // [out]
  private packed: Tensor | undefined; // the weight for int8 products

  constructor(
    p: ParameterBuilder,
    inFeatures: number,
    outFeatures: number,
    options: { bias?: boolean; weightInit?: Initialisation; biasInit?: Initialisation } = {},
  ) {
    this.weight = p.parameter('weight', [outFeatures, inFeatures], options.weightInit ?? { kind: 'xavier-uniform' });
    this.bias = (options.bias ?? true) ? p.parameter('bias', [outFeatures], options.biasInit ?? ZEROS) : undefined;
    p.register(this);
  }

  useInt8(): boolean {
    this.packed ??= scope(() => {
      const packed = packInt8(this.weight);
      return packed === undefined ? undefined : keep(packed);
    });
    return this.packed !== undefined;
  }

  dropInt8(): void {
    this.packed?.dispose();
    this.packed = undefined;
  }

  /** x — [..., in]; returns [..., out]. */
  forward(x: Tensor): Tensor {
    const { weight, bias, packed } = this;
    if (packed !== undefined) return linearInt8(x, packed, bias);
    return isGradEnabled() ? linear(x, weight, bias) : linearTiles(x, weight, bias);
  }
}

export class Embedding {
  readonly weight: Tensor; // [count, D]

  constructor(p: ParameterBuilder, count: number, dim: number, std = 0.02, name = 'weight') {
    this.weight = p.parameter(name, [count, dim], { kind: 'normal', std });
  }

  /** indices — [...] int64; returns [..., D]. */
  forward(indices: Tensor): Tensor {
    return embedding(this.weight, indices);
  }
}

/** Layer norm over the last axis with learned scale and shift. */
export class LayerNorm {
  readonly weight: Tensor; // [D]
  readonly bias: Tensor; // [D]
  private readonly eps: number;

  constructor(p: ParameterBuilder, dim: number, eps: number) {
    this.weight = p.parameter('weight', [dim], ONES);
    this.bias = p.parameter('bias', [dim], ZEROS);
    this.eps = eps;
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight.shape, this.weight, this.bias, this.eps);
  }
}

export class GroupNorm {
  readonly weight: Tensor; // [C]
  readonly bias: Tensor; // [C]
  readonly numGroups: number;
  readonly eps: number;

  constructor(p: ParameterBuilder, channels: number, numGroups = 32, eps = 1e-6) {
    this.weight = p.parameter('weight', [channels], ONES);
    this.bias = p.parameter('bias', [channels], ZEROS);
    this.numGroups = numGroups;
    this.eps = eps;
  }

  /** x — [N, C, Y, X]. */
  forward(x: Tensor): Tensor {
    return groupNorm(x, this.numGroups, this.weight, this.bias, this.eps);
  }
}

export class Conv2d {
  readonly weight: Tensor; // [out, in, k, k]
  readonly bias: Tensor | undefined; // [out]
  private readonly stride: number;
  private readonly padding: number;

  constructor(
    p: ParameterBuilder,
    inChannels: number,
    outChannels: number,
    kernel: number,
    options: { stride?: number; padding?: number; bias?: boolean; weightInit?: Initialisation } = {},
  ) {
    const fanIn = inChannels * kernel * kernel;
    const weightInit = options.weightInit ?? { kind: 'fan-in-uniform' };
    this.weight = p.parameter('weight', [outChannels, inChannels, kernel, kernel], weightInit);
    this.bias =
      (options.bias ?? true) ? p.parameter('bias', [outChannels], { kind: 'fan-in-uniform', fanIn }) : undefined;
    this.stride = options.stride ?? 1;
    this.padding = options.padding ?? 0;
  }

  /** x — [N, in, Y, X]. */
  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, [this.stride, this.stride], [this.padding, this.padding]);
  }
}
