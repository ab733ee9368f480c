/**
 * The discriminator of StyleGAN2 (Karras et al., CVPR 2020) as the released tokenizer trainer has it (reference §1.7):
 * residual blocks that halve the picture after a blur, down to 4×4, then two linear layers. Without the original's
 * equalised rates and minibatch deviation, as released. A block is checked by the golden values of the kind
 * stylegan-block.
 */

import { conv2d, leakyRelu, reflectionPad2d, type Tensor } from '@tessera/torch';
import type { Initialisation } from '../nn/initialisation.ts';
import { Conv2d, Linear } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { Discriminator } from './discriminator.ts';
import { TokenizerError } from './tokenizer-error.ts';

const SLOPE = 0.2;
/** Pixels of a side where the blocks end. */
const LAST_SIDE = 4;
const LAST_WIDTH = 512;

/** Channels where the picture's side has this many pixels. */
function widthAt(side: number, multiplier: number): number {
  return side <= 32 ? LAST_WIDTH : Math.max(1, Math.round((16384 / side) * multiplier));
}

export class StyleganDiscriminator extends Discriminator {
  private readonly side: number;
  private readonly first: Conv2d;
  private readonly blocks: StyleganBlock[] = [];
  private readonly last: Conv2d;
  private readonly hidden: Linear;
  private readonly output: Linear;

  /** side — pixels of a picture's side: a power of two from 8 to 1024. */
  constructor(p: ParameterBuilder, { side, channelMultiplier }: { side: number; channelMultiplier: number }) {
    super(p);
    if (![8, 16, 32, 64, 128, 256, 512, 1024].includes(side)) {
      const expected = 'a power of two from 8 to 1024 pixels a side';
      throw new TokenizerError(
        'DISCRIMINATOR',
        `The StyleGAN discriminator expects ${expected}, got ${side}: use patchgan.`,
      );
    }
    this.side = side;
    this.first = new Conv2d(p.child('blocks', 0), 3, widthAt(side, channelMultiplier), 3, { padding: 1 });
    // Entry 1 of the released list is the activation after the first convolution.
    for (let [place, at] = [2, side]; at > LAST_SIDE; place++, at /= 2) {
      const widths = [widthAt(at, channelMultiplier), widthAt(at / 2, channelMultiplier)] as const;
      this.blocks.push(new StyleganBlock(p.child('blocks', place), ...widths));
    }
    this.last = new Conv2d(p.child('final_conv', 0), LAST_WIDTH, LAST_WIDTH, 3, { padding: 1 });
    this.hidden = torchLinear(p.child('final_linear', 0), LAST_WIDTH * LAST_SIDE ** 2, LAST_WIDTH);
    this.output = torchLinear(p.child('final_linear', 2), LAST_WIDTH, 1);
  }

  forward(images: Tensor): Tensor {
    if (images.size(2) !== this.side || images.size(3) !== this.side) {
      const got = `${images.size(2)}×${images.size(3)}`;
      throw new TokenizerError(
        'DISCRIMINATOR',
        `The discriminator was made for ${this.side} pixels a side, got ${got}.`,
      );
    }
    let x = leakyRelu(this.first.forward(images), SLOPE);
    for (const block of this.blocks) x = block.forward(x);
    x = leakyRelu(this.last.forward(x), SLOPE).flatten(1); // [N, 512·4·4]
    return this.output.forward(leakyRelu(this.hidden.forward(x), SLOPE)); // [N, 1]
  }
}

export class StyleganBlock {
  private readonly shortcut: Conv2d;
  private readonly convolutions: readonly [Conv2d, Conv2d];
  private readonly taps: Tensor; // [3]
  private readonly down: Conv2d;

  constructor(p: ParameterBuilder, inChannels: number, outChannels: number) {
    const [net, down] = [p.child('net'), p.child('downsample')];
    this.shortcut = new Conv2d(p.child('conv_res'), inChannels, outChannels, 1, { stride: 2 });
    this.convolutions = [
      new Conv2d(net.child(0), inChannels, outChannels, 3, { padding: 1 }),
      new Conv2d(net.child(2), outChannels, outChannels, 3, { padding: 1 }),
    ];
    this.taps = down.child(0).buffer('f', [3], { kind: 'values', values: [1, 2, 1] });
    this.down = new Conv2d(down.child(1), outChannels, outChannels, 3, { stride: 2, padding: 1 });
  }

  /** x — [N, in, Y, X]; returns [N, out, Y/2, X/2]. */
  forward(x: Tensor): Tensor {
    let h = x;
    for (const convolution of this.convolutions) h = leakyRelu(convolution.forward(h), SLOPE);
    h = this.down.forward(this.blur(h));
    return h.add(this.shortcut.forward(x)).mul(Math.SQRT1_2);
  }

  /** x — [N, C, Y, X], each channel by itself, mirrored at the border. */
  blur(x: Tensor): Tensor {
    const outer = this.taps.unsqueeze(1).mul(this.taps); // [3, 3]
    const channels = x.size(1);
    const kernel = outer.div(outer.sum()).expand([channels, 1, 3, 3]);
    return conv2d(reflectionPad2d(x, [1, 1, 1, 1]), kernel, undefined, [1, 1], [0, 0], [1, 1], channels);
  }
}

/** A linear layer with PyTorch's first values. */
function torchLinear(p: ParameterBuilder, inFeatures: number, outFeatures: number): Linear {
  const init: Initialisation = { kind: 'fan-in-uniform', fanIn: inFeatures };
  return new Linear(p, inFeatures, outFeatures, { weightInit: init, biasInit: init });
}
