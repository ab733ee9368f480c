/**
 * The four blocks of the LlamaGen tokenizer, which are those of VQGAN (Esser et al. 2021): residual block, single-head
 * self-attention over the grid, halving and doubling. Tensor names are the official checkpoints'.
 *
 * Shapes: x — [N, C, Y, X] float32. Any memory order works; channels-last stays channels-last.
 */

import { constantPadNd, scaledDotProductAttention, type Tensor } from '@tessera/torch';
import { Conv2d, GroupNorm } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { convolvedNormed, convolveNormed, emptyMap, place, upsampledInBands } from './bands.ts';
import { addTo, swish } from './in-place.ts';
import type { Step } from './steps.ts';
import { upsampleAndConvolve } from './upsample.ts';

const PADDED = { padding: 1 };

/** shortcut(x) + conv(act(norm(conv(act(norm(x)))))). */
export class ResBlock {
  private readonly norm1: GroupNorm;
  private readonly conv1: Conv2d;
  private readonly norm2: GroupNorm;
  private readonly conv2: Conv2d;
  private readonly shortcut: Conv2d | undefined;

  constructor(p: ParameterBuilder, inChannels: number, outChannels: number, groups: number) {
    this.norm1 = new GroupNorm(p.child('norm1'), inChannels, groups);
    this.conv1 = new Conv2d(p.child('conv1'), inChannels, outChannels, 3, PADDED);
    this.norm2 = new GroupNorm(p.child('norm2'), outChannels, groups);
    this.conv2 = new Conv2d(p.child('conv2'), outChannels, outChannels, 3, PADDED);
    this.shortcut =
      inChannels === outChannels ? undefined : new Conv2d(p.child('nin_shortcut'), inChannels, outChannels, 1);
  }

  forward(x: Tensor): Tensor {
    const inner = this.conv1.forward(swish(this.norm1.forward(x)));
    const h = this.conv2.forward(swish(this.norm2.forward(inner)));
    return addTo(h, this.shortcut === undefined ? x : this.shortcut.forward(x));
  }

  /** The same in bands (steps.ts); x is written over. */
  forwardBands(x: Tensor, rows: number): Tensor {
    const { shortcut } = this;
    const inner = convolvedNormed(x, this.norm1, this.conv1, rows);
    const out = shortcut === undefined ? x : emptyMap(inner.size(1), x.size(2), x.size(3), x);
    convolveNormed(inner, this.norm2, this.conv2, rows, (band, top) => {
      if (shortcut === undefined) place(x, top, band).add_(band);
      else place(out, top, band).copy_(band.add_(shortcut.forward(place(x, top, band))));
    });
    return out;
  }
}

/** x + proj(attention(norm(x))): one head of C channels over all positions, no positional information. */
export class AttentionBlock {
  private readonly norm: GroupNorm;
  private readonly q: Conv2d;
  private readonly k: Conv2d;
  private readonly v: Conv2d;
  private readonly proj: Conv2d;

  constructor(p: ParameterBuilder, channels: number, groups: number) {
    this.norm = new GroupNorm(p.child('norm'), channels, groups);
    this.q = new Conv2d(p.child('q'), channels, channels, 1);
    this.k = new Conv2d(p.child('k'), channels, channels, 1);
    this.v = new Conv2d(p.child('v'), channels, channels, 1);
    this.proj = new Conv2d(p.child('proj_out'), channels, channels, 1);
  }

  forward(x: Tensor): Tensor {
    const h = this.norm.forward(x);
    const positions = (y: Tensor): Tensor => y.flatten(2).transpose(1, 2).unsqueeze(1); // [N, 1, Y·X, C]
    const [q, k, v] = [this.q, this.k, this.v].map((conv) => positions(conv.forward(h))) as [Tensor, Tensor, Tensor];
    const attended = scaledDotProductAttention(q, k, v); // scores · C^(-1/2)
    const grid = attended
      .squeeze(1)
      .transpose(1, 2)
      .unflatten(2, [x.size(2), x.size(3)]); // [N, C, Y, X]
    return addTo(this.proj.forward(grid), x);
  }
}

/** Halves both sides: one row of zeros below and one column right, then a 3×3 convolution of stride 2. */
export class Downsample {
  private readonly conv: Conv2d;

  constructor(p: ParameterBuilder, channels: number) {
    this.conv = new Conv2d(p.child('conv'), channels, channels, 3, { stride: 2 });
  }

  forward(x: Tensor): Tensor {
    return this.conv.forward(constantPadNd(x, [0, 1, 0, 1]));
  }
}

/** Doubles both sides: each pixel four times, then a 3×3 convolution. */
export class Upsample {
  private readonly conv: Conv2d;

  constructor(p: ParameterBuilder, channels: number) {
    this.conv = new Conv2d(p.child('conv'), channels, channels, 3, PADDED);
  }

  forward(x: Tensor): Tensor {
    return upsampleAndConvolve(x, this.conv);
  }

  /** The same in bands (steps.ts). */
  forwardBands(x: Tensor, rows: number): Tensor {
    return upsampledInBands(x, this.conv, rows);
  }
}

/** Two residual blocks with attention between, named 0, 1, 2. Without attention, 1 is left out. */
export class Middle {
  private readonly first: ResBlock;
  readonly attention: AttentionBlock | undefined;
  private readonly last: ResBlock;

  constructor(p: ParameterBuilder, channels: number, groups: number, attention: boolean) {
    this.first = new ResBlock(p.child(0), channels, channels, groups);
    this.attention = attention ? new AttentionBlock(p.child(1), channels, groups) : undefined;
    this.last = new ResBlock(p.child(2), channels, channels, groups);
  }

  /** What it does to x, step by step, with a name where others may want to look. */
  get steps(): Step[] {
    const { attention } = this;
    return [
      blockStep(this.first),
      ...(attention === undefined ? [] : [{ run: (x: Tensor) => attention.forward(x), place: 'midAttention' }]),
      blockStep(this.last),
    ];
  }
}

/** A block that can run in bands as a step. */
export function blockStep(block: ResBlock | Upsample, place?: string): Step {
  return {
    run: (x) => block.forward(x),
    runBands: (x, rows) => block.forwardBands(x, rows),
    ...(place === undefined ? {} : { place }),
  };
}
