/**
 * The local extractor: a small convolutional network for comparing sets of pictures where Inception's weights are not at
 * hand. It was trained in this project on rendered emoji and on pictures drawn by formulas, to tell their kinds and how
 * blurred and how noisy they are (packages/models-emoji/make-local-extractor.mjs; docs/evaluation.md says how good it is).
 * Distances under it have their own names, FD-local and KID-local, and no relation to published FIDs.
 *
 * Features are the averages over space of the last two levels: coarse shapes, and the finer texture that blur destroys.
 * Pictures of any size are brought to 64 px with antialiasing first, so detail finer than that is not seen.
 */

import { cat, conv2d, linear, noGrad, relu, scope, type Tensor, upsampleBilinear2dAa } from '@tessera/torch';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { beside } from '../nn/device.ts';
import { ZEROS } from '../nn/initialisation.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import type { FeatureExtractor } from './feature-extractor.ts';

const SIDE = 64;
/** Width and stride of each convolution, all 3×3. */
const LAYERS = [
  { width: 16, stride: 1 },
  { width: 32, stride: 2 },
  { width: 48, stride: 2 },
  { width: 64, stride: 1, tap: true },
  { width: 96, stride: 2 },
  { width: 128, stride: 1 },
  { width: 128, stride: 1, tap: true },
] as const;
const DIM = LAYERS.reduce((sum, layer) => sum + ('tap' in layer ? layer.width : 0), 0);

export class LocalExtractor extends Module implements FeatureExtractor {
  readonly name = 'local';
  readonly dim = DIM;
  private readonly layers: { weight: Tensor; norm: BatchNorm2d; stride: number; tap: boolean }[] = [];
  private readonly head: { weight: Tensor; bias: Tensor }; // [outputs, dim], [outputs]

  /** @param numOutputs of the head, which training alone uses */
  constructor(p: ParameterBuilder, numOutputs: number) {
    super(p);
    let width = 3;
    for (const [i, layer] of LAYERS.entries()) {
      const child = p.child('layers', i);
      const shape = [layer.width, width, 3, 3];
      this.layers.push({
        weight: child.parameter('conv.weight', shape, { kind: 'normal', std: Math.sqrt(2 / (9 * width)) }),
        norm: new BatchNorm2d(child.child('norm'), layer.width),
        stride: layer.stride,
        tap: 'tap' in layer,
      });
      ({ width } = layer);
    }
    const head = p.child('head');
    this.head = {
      weight: head.parameter('weight', [numOutputs, DIM], { kind: 'fan-in-uniform' }),
      bias: head.parameter('bias', [numOutputs], ZEROS),
    };
  }

  features(images: Tensor): Tensor {
    return noGrad(() =>
      scope(() => {
        const own = beside(images, this);
        const unit = own.dtype === 'uint8' ? own.to('float32').permute([0, 3, 1, 2]).contiguous().div(255) : own;
        return this.forward(upsampleBilinear2dAa(unit, [SIDE, SIDE], false), false).to('cpu');
      }),
    );
  }

  /** x — [N, 3, 64, 64] in [0, 1]; returns [N, 192]. With `training` batch norm uses and gathers the batch's statistics. */
  forward(x: Tensor, training: boolean): Tensor {
    const taps: Tensor[] = [];
    let y = x.mul(2).sub(1);
    for (const { weight, norm, stride, tap } of this.layers) {
      y = relu(norm.forward(conv2d(y, weight, undefined, [stride, stride], [1, 1]), training));
      if (tap) taps.push(y.mean([2, 3]));
    }
    return cat(taps, 1);
  }

  /** What training looks at: features — [N, 192] to [N, outputs]. */
  outputs(features: Tensor): Tensor {
    return linear(features, this.head.weight, this.head.bias);
  }
}

/** The network from its stored tensors. */
export function loadLocalExtractor(tensors: ReadonlyMap<string, Tensor>, where: string): LocalExtractor {
  const numOutputs = tensors.get('head.bias')?.numel ?? 1;
  return loadModule((p) => new LocalExtractor(p, numOutputs), tensors, where);
}
