/**
 * The InceptionV3 of the FID (Heusel et al. 2017): the TensorFlow network of 2015 with 1008 classes as ported by pytorch-fid,
 * whose weight file (pt_inception-2015-12-05-6726825d.pth) this loads. Checked by the golden kinds inception-features and
 * state-dict-shapes.
 *
 * Two ways bring a picture to 299×299 and [-1, 1), and both are in published numbers:
 *
 *   pytorch-fid  torch's bilinear without antialiasing (pixel middles), 2x - 1   pytorch-fid, AutoNAT, ENAT
 *   tf1          TensorFlow 1's bilinear (pixel corners), (byte - 128) / 128     the ADM evaluator
 *
 * The graph's own preprocessing and the place of the spatial features (`mixed_6/conv` with its ReLU) are taken from public
 * descriptions; the TensorFlow graph itself was not at hand.
 */

import { arange, linear, noGrad, scope, type Tensor, upsampleBilinear2d } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import { ZEROS } from '../nn/initialisation.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import type { FeatureExtractor } from './feature-extractor.ts';
import {
  type BasicConv,
  type MixedBlock,
  maxPool,
  mixed5,
  mixed6,
  mixed6a,
  mixed7,
  mixed7a,
  stem,
} from './inception-layers.ts';
import { MetricError } from './metric-error.ts';

export type InceptionInput = 'pytorch-fid' | 'tf1';

export interface InceptionFeatures {
  /** [N, 2048] float32 */
  pool: Tensor;
  /** [N, 2023] float32: 7 channels of the 17×17 map, position by position. */
  spatial: Tensor;
}

const SIDE = 299;
const POOL_DIM = 2048;
const SPATIAL_CHANNELS = 7;
const NUM_LOGITS = 1008;
/** Index of Mixed_6d among the mixed blocks. */
const SPATIAL_BLOCK = 6;

export class InceptionV3 extends Module {
  private readonly stem: readonly BasicConv[];
  private readonly mixed: readonly MixedBlock[];
  private readonly head: { weight: Tensor; bias: Tensor }; // [1008, 2048], [1008]

  constructor(p: ParameterBuilder) {
    super(p);
    this.stem = stem(p);
    this.mixed = [
      mixed5(p.child('Mixed_5b'), 192, 32),
      mixed5(p.child('Mixed_5c'), 256, 64),
      mixed5(p.child('Mixed_5d'), 288, 64),
      mixed6a(p.child('Mixed_6a')),
      mixed6(p.child('Mixed_6b'), 128),
      mixed6(p.child('Mixed_6c'), 160),
      mixed6(p.child('Mixed_6d'), 160),
      mixed6(p.child('Mixed_6e'), 192),
      mixed7a(p.child('Mixed_7a')),
      mixed7(p.child('Mixed_7b'), 1280, 'average'),
      mixed7(p.child('Mixed_7c'), 2048, 'maximum'),
    ];
    const head = p.child('fc');
    this.head = {
      weight: head.parameter('weight', [NUM_LOGITS, POOL_DIM], { kind: 'fan-in-uniform' }),
      bias: head.parameter('bias', [NUM_LOGITS], ZEROS),
    };
  }

  /**
   * x — [N, 3, 299, 299] in [-1, 1].
   *
   * @param probe sees the output of pytorch-fid's blocks 0, 1, 2 and 3 (the last before pooling)
   */
  forward(x: Tensor, probe?: (block: number, value: Tensor) => void): InceptionFeatures {
    let y = x;
    let spatial: Tensor | undefined;
    for (const [i, layer] of this.stem.entries()) {
      y = layer.forward(y);
      if (i === 2 || i === 4) {
        y = maxPool(y); // [N, 64, 73, 73], then [N, 192, 35, 35]
        probe?.(i === 2 ? 0 : 1, y);
      }
    }
    for (const [i, block] of this.mixed.entries()) {
      if (i === SPATIAL_BLOCK) spatial = block.first[0]!.forward(y); // [N, 192, 17, 17]
      y = block.forward(y);
      if (i === 7) probe?.(2, y); // [N, 768, 17, 17]
    }
    probe?.(3, y); // [N, 2048, 8, 8]
    const channelsLast = spatial!.narrow(1, 0, SPATIAL_CHANNELS).permute([0, 2, 3, 1]); // [N, 17, 17, 7], as TensorFlow's
    const pool = y.mean([2, 3]);
    return { pool, spatial: channelsLast.reshape([pool.size(0), -1]) };
  }

  /** pool — [N, 2048]; returns [N, 1008]. The Inception Score is taken without bias by both conventions. */
  logits(pool: Tensor, { bias }: { bias: boolean }): Tensor {
    return linear(beside(pool, this), this.head.weight, bias ? this.head.bias : undefined).to('cpu');
  }

  /** images — as FeatureExtractor's; the features are on the CPU, where they are compared. */
  features(images: Tensor, input: InceptionInput): InceptionFeatures {
    return noGrad(() =>
      scope(() => {
        const { pool, spatial } = this.forward(inceptionInput(beside(images, this), input));
        return { pool: pool.to('cpu'), spatial: spatial.to('cpu') };
      }),
    );
  }

  /** This network as a FeatureExtractor: its 2048 pool features. */
  extractor(input: InceptionInput): FeatureExtractor {
    return {
      name: `inception-pool3 (${input})`,
      dim: POOL_DIM,
      features: (images) => this.features(images, input).pool,
    };
  }
}

/**
 * The network from the official file's tensors; counters of batches are not needed.
 *
 * @param where names the file in errors
 */
export function loadInception(tensors: ReadonlyMap<string, Tensor>, where: string): InceptionV3 {
  if (!tensors.has('Mixed_7c.branch_pool.conv.weight')) {
    throw new MetricError(
      'METRIC_WEIGHTS',
      `${where}: expected pytorch-fid's InceptionV3 (pt_inception-2015-12-05-6726825d.pth, \`tessera fetch fid-inception\`).`,
    );
  }
  const known = [...tensors].filter(([name]) => !name.endsWith('num_batches_tracked') && !name.startsWith('AuxLogits'));
  return loadModule((p) => new InceptionV3(p), new Map(known), where);
}

/** Pictures as FeatureExtractor's to the network's own: [N, 3, 299, 299] float32 in [-1, 1]. */
export function inceptionInput(images: Tensor, input: InceptionInput): Tensor {
  if (input === 'tf1') {
    const bytes = images.dtype === 'uint8' ? channelsFirst(images) : images.mul(255);
    return resizeTf1(bytes, SIDE).sub(128).div(128);
  }
  const unit = images.dtype === 'uint8' ? channelsFirst(images).div(255) : images;
  return upsampleBilinear2d(unit, [SIDE, SIDE], false).mul(2).sub(1);
}

/** uint8 [N, Y, X, 3] to float32 [N, 3, Y, X], values kept. */
function channelsFirst(images: Tensor): Tensor {
  return images.to('float32').permute([0, 3, 1, 2]).contiguous();
}

/**
 * TensorFlow 1's ResizeBilinear (neither aligned corners nor pixel middles): output pixel i reads at i · in / out. Rows
 * first: a weighted sum of two neighbours along each axis.
 *
 * images — [N, C, Y, X] float32
 */
export function resizeTf1(images: Tensor, side: number): Tensor {
  const along = (x: Tensor, axis: 2 | 3): Tensor => {
    const size = x.size(axis);
    const place = arange(0, side, 1, { dtype: 'float32', device: x.device }).mul(size / side);
    const low = place.floor();
    const high = low.add(1).clamp(0, size - 1);
    const share = place.sub(low).view(axis === 2 ? [side, 1] : [side]);
    const at = (index: Tensor): Tensor => x.indexSelect(axis, index.to('int64'));
    return at(low).add(at(high).sub(at(low)).mul(share));
  };
  return along(along(images, 2), 3);
}
