/**
 * The blocks of MaskGIT's VQGAN as MAGE ported it from JAX (reference §1). Convolutions inside residual blocks have no
 * bias; halving is an average, without weights; there is no attention.
 *
 * The port re-uses a variable, and its weights were trained so: where a residual block changes the width, the skip path
 * starts from the block's own output, not from its input. Hence the square shortcut.
 *
 * Shapes: x — [N, C, Y, X] float32. Any memory order works; channels-last stays channels-last.
 */

import type { Tensor } from '@tessera/torch';
import { Conv2d, GroupNorm } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { convolvedNormed, convolveNormed, emptyMap, place } from './bands.ts';
import { addTo, swish } from './in-place.ts';
import type { Step } from './steps.ts';

const UNBIASED = { padding: 1, bias: false };

/** h = conv(act(norm(conv(act(norm(x)))))); returns x + h, or shortcut(h) + h where the width changes. */
export class MaskgitResBlock {
  private readonly norm1: GroupNorm;
  private readonly conv1: Conv2d;
  private readonly norm2: GroupNorm;
  private readonly conv2: Conv2d;
  private readonly shortcut: Conv2d | undefined;

  constructor(p: ParameterBuilder, inChannels: number, outChannels: number, groups: number) {
    this.norm1 = new GroupNorm(p.child('norm1'), inChannels, groups);
    this.conv1 = new Conv2d(p.child('conv1'), inChannels, outChannels, 3, UNBIASED);
    this.norm2 = new GroupNorm(p.child('norm2'), outChannels, groups);
    this.conv2 = new Conv2d(p.child('conv2'), outChannels, outChannels, 3, UNBIASED);
    this.shortcut =
      inChannels === outChannels
        ? undefined
        : new Conv2d(p.child('nin_shortcut'), outChannels, outChannels, 1, { bias: false });
  }

  forward(x: Tensor): Tensor {
    const inner = this.conv1.forward(swish(this.norm1.forward(x)));
    const h = this.conv2.forward(swish(this.norm2.forward(inner)));
    return addTo(h, this.shortcut === undefined ? x : this.shortcut.forward(h));
  }

  /** The same in bands (steps.ts); x is written over. */
  forwardBands(x: Tensor, rows: number): Tensor {
    const { shortcut } = this;
    const inner = convolvedNormed(x, this.norm1, this.conv1, rows);
    const out = shortcut === undefined ? x : emptyMap(inner.size(1), x.size(2), x.size(3), x);
    convolveNormed(inner, this.norm2, this.conv2, rows, (band, top) => {
      if (shortcut === undefined) place(x, top, band).add_(band);
      else place(out, top, band).copy_(shortcut.forward(band).add_(band));
    });
    return out;
  }
}

/** A block as a step. */
export function maskgitStep(block: MaskgitResBlock): Step {
  return { run: (x) => block.forward(x), runBands: (x, rows) => block.forwardBands(x, rows) };
}

/** Two residual blocks of one width, named block_1 and block_2. */
export function maskgitMiddle(p: ParameterBuilder, channels: number, groups: number): MaskgitResBlock[] {
  return ['block_1', 'block_2'].map((name) => new MaskgitResBlock(p.child(name), channels, channels, groups));
}
