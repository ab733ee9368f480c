/**
 * Batch normalisation of pictures (Ioffe and Szegedy 2015), with PyTorch's buffers and names. In training a batch is
 * normalised by its own mean and variance, and the running ones move towards them (the variance unbiased); otherwise by
 * the running ones. A batch here is a logical shard (design rule 4): results do not depend on how shards are dealt out.
 */

import { batchNorm, noGrad, type Tensor } from '@tessera/torch';
import { type Initialisation, ONES, ZEROS } from './initialisation.ts';
import type { ParameterBuilder } from './module.ts';

/** Of the running statistics: the share of the new batch. */
const MOMENTUM = 0.1;
const EPS = 1e-5;

export class BatchNorm2d {
  readonly weight: Tensor; // [C]
  readonly bias: Tensor; // [C]
  private readonly mean: Tensor; // [C]
  private readonly variance: Tensor; // [C]
  private readonly count: Tensor; // [], batches seen

  constructor(p: ParameterBuilder, channels: number, weightInit: Initialisation = ONES) {
    this.weight = p.parameter('weight', [channels], weightInit);
    this.bias = p.parameter('bias', [channels], ZEROS);
    this.mean = p.statistic('running_mean', [channels], ZEROS);
    this.variance = p.statistic('running_var', [channels], ONES);
    this.count = p.statistic('num_batches_tracked', [], ZEROS);
  }

  /** x — [N, C, Y, X]. With `training` the running statistics change. */
  forward(x: Tensor, training: boolean): Tensor {
    if (training) noGrad(() => this.count.add_(1));
    return batchNorm(x, this.weight, this.bias, this.mean, this.variance, training, MOMENTUM, EPS);
  }
}
