/**
 * The PatchGAN discriminator (Isola et al., CVPR 2017, with batch normalisation; reference §1.7): convolutions whose
 * outputs each see one patch of the picture and judge it alone. Names and order are the released checkpoints'. Checked by
 * the golden values of the kind patchgan.
 */

import { leakyRelu, type Tensor } from '@tessera/torch';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import type { Initialisation } from '../nn/initialisation.ts';
import { Conv2d } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { Discriminator } from './discriminator.ts';

const KERNEL = 4;
const SLOPE = 0.2;
/** The widest layer, in multiples of the first. */
const MAX_FACTOR = 8;
const CONVOLUTION: Initialisation = { kind: 'normal', std: 0.02 };
const SCALE: Initialisation = { kind: 'normal', mean: 1, std: 0.02 };

interface Layer {
  convolution: Conv2d;
  norm: BatchNorm2d | undefined;
}

export class PatchDiscriminator extends Discriminator {
  /** All but the last are followed by a leaky ReLU. */
  private readonly layers: Layer[] = [];

  constructor(p: ParameterBuilder, { baseChannels, numLayers }: { baseChannels: number; numLayers: number }) {
    super(p);
    const width = (layer: number): number => baseChannels * Math.min(2 ** layer, MAX_FACTOR);
    // Places in the released nn.Sequential: convolution, norm where there is one, activation.
    let place = 0;
    const add = (inputs: number, outputs: number, stride: number, options: { norm: boolean }): void => {
      const bias = !options.norm; // A norm would take it away again.
      const convolution = new Conv2d(p.child('main', place), inputs, outputs, KERNEL, {
        stride,
        padding: 1,
        bias,
        weightInit: CONVOLUTION,
      });
      const norm = options.norm ? new BatchNorm2d(p.child('main', place + 1), outputs, SCALE) : undefined;
      place += options.norm ? 3 : 2;
      this.layers.push({ convolution, norm });
    };
    add(3, baseChannels, 2, { norm: false });
    for (let layer = 1; layer <= numLayers; layer++) {
      add(width(layer - 1), width(layer), layer < numLayers ? 2 : 1, { norm: true });
    }
    add(width(numLayers), 1, 1, { norm: false });
  }

  forward(images: Tensor, training: boolean): Tensor {
    let x = images;
    for (const [i, { convolution, norm }] of this.layers.entries()) {
      x = convolution.forward(x);
      if (norm !== undefined) x = norm.forward(x, training);
      if (i < this.layers.length - 1) x = leakyRelu(x, SLOPE);
    }
    return x; // [N, 1, y, x]
  }
}
