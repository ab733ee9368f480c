/**
 * LPIPS (Zhang et al., CVPR 2018), the perceptual distance of pictures: features of VGG16 at five depths, each position's
 * vector brought to length 1, squared differences weighed by a learned 1×1 map and averaged over the picture.
 *
 * The weights are the official ones and are not shipped: torchvision's VGG16 and the five maps of LPIPS v0.1. Checked by
 * the golden values of the kind lpips. The released tokenizer trainer leaves a dropout of 0.5 in front of the maps switched
 * on; here it is an argument.
 */

import { conv2d, dropout, linalgVectorNorm, maxPool2d, relu, type Tensor, tensor } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import { TokenizerError } from './tokenizer-error.ts';

/** VGG16's convolutions: index in torchvision's `features`, width, and whether a pooling stands before. */
const CONVOLUTIONS: readonly { index: number; width: number; pool?: true; tap?: true }[] = [
  { index: 0, width: 64 },
  { index: 2, width: 64, tap: true },
  { index: 5, width: 128, pool: true },
  { index: 7, width: 128, tap: true },
  { index: 10, width: 256, pool: true },
  { index: 12, width: 256 },
  { index: 14, width: 256, tap: true },
  { index: 17, width: 512, pool: true },
  { index: 19, width: 512 },
  { index: 21, width: 512, tap: true },
  { index: 24, width: 512, pool: true },
  { index: 26, width: 512 },
  { index: 28, width: 512, tap: true },
];

/** ImageNet's channel means and deviations, for pictures in [-1, 1]. */
const SHIFT = [-0.03, -0.088, -0.188];
const SCALE = [0.458, 0.448, 0.45];
const EPS = 1e-10;

export class Lpips extends Module {
  private readonly convolutions: { weight: Tensor; bias: Tensor }[] = [];
  private readonly maps: Tensor[] = []; // [1, C, 1, 1]

  constructor(p: ParameterBuilder) {
    super(p);
    let width = 3;
    for (const layer of CONVOLUTIONS) {
      const child = p.child('features', layer.index);
      this.convolutions.push({
        weight: child.parameter('weight', [layer.width, width, 3, 3], { kind: 'fan-in-uniform' }),
        bias: child.parameter('bias', [layer.width], { kind: 'constant', value: 0 }),
      });
      ({ width } = layer);
    }
    for (const layer of CONVOLUTIONS.filter(({ tap }) => tap)) {
      const child = p.child(`lin${this.maps.length}`, 'model', 1);
      this.maps.push(child.parameter('weight', [1, layer.width, 1, 1], { kind: 'constant', value: 1 }));
    }
  }

  /**
   * a, b — [N, 3, Y, X] float32 in [-1, 1], sides of 16 pixels and more; returns distances [N, 1, 1, 1], 0 for equal
   * pictures. Gradients flow to both.
   *
   * @param dropoutProbability of the features' differences
   */
  distance(a: Tensor, b: Tensor, dropoutProbability = 0): Tensor {
    const [ofA, ofB] = [this.features(a), this.features(b)];
    const parts = this.maps.map((map, i) => {
      const difference = unitVectors(ofA[i]!).sub(unitVectors(ofB[i]!)).square();
      return conv2d(dropout(difference, dropoutProbability, dropoutProbability > 0), map).mean([2, 3], true);
    });
    return parts.reduce((sum, part) => sum.add(part)); // [N, 1, 1, 1]
  }

  /** images — [N, 3, Y, X] in [-1, 1]; the five features after their ReLU: [N, C, y, x], each half the size of the last. */
  features(images: Tensor): Tensor[] {
    const channel = (values: readonly number[]): Tensor => beside(tensor(values), images).view([1, 3, 1, 1]);
    let x = images.sub(channel(SHIFT)).div(channel(SCALE));
    const taps: Tensor[] = [];
    for (const [i, { pool, tap }] of CONVOLUTIONS.entries()) {
      if (pool) x = maxPool2d(x, [2, 2], [2, 2]);
      const { weight, bias } = this.convolutions[i]!;
      x = relu(conv2d(x, weight, bias, [1, 1], [1, 1]));
      if (tap) taps.push(x);
    }
    return taps;
  }
}

/**
 * LPIPS from the official files' tensors, all together in one map: torchvision's VGG16 (`features.0.weight` …) or the same
 * inside a saved LPIPS (`net.slice1.0.weight` …), and the five maps (`lin0.model.1.weight` …). Others, such as VGG16's
 * classifier, are not needed.
 *
 * @param where names the files in errors
 */
export function loadLpips(tensors: ReadonlyMap<string, Tensor>, where: string): Lpips {
  const known = new Map<string, Tensor>();
  for (const [name, value] of tensors) {
    const vgg = /^(?:features|net\.slice\d)\.(\d+\.(?:weight|bias))$/.exec(name)?.[1];
    const map = /^(lin\d\.model\.1\.weight)$/.exec(name)?.[1];
    if (vgg !== undefined) known.set(`features.${vgg}`, value);
    else if (map !== undefined) known.set(map, value);
  }
  const lacks = [
    [...known.keys()].some((name) => name.startsWith('features.')) ? [] : ["torchvision's VGG16 (vgg16-397923af.pth)"],
    [...known.keys()].some((name) => name.startsWith('lin')) ? [] : ['the maps of LPIPS v0.1 (vgg.pth)'],
  ].flat();
  if (lacks.length > 0) {
    throw new TokenizerError(
      'LPIPS',
      `${where}: expected VGG16 and the maps of LPIPS; ${lacks.join(' and ')} is missing.`,
    );
  }
  return loadModule((p) => new Lpips(p), known, where);
}

/** Each position's vector divided by its length: [N, C, Y, X]. */
function unitVectors(x: Tensor): Tensor {
  return x.div(linalgVectorNorm(x, 2, [1], true).add(EPS));
}
