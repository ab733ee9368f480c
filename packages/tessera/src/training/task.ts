/**
 * What the one training loop needs to know of what it trains. A task owns its networks and its data; the loop owns
 * order, shards, optimizer, schedules, checkpoints and logs. The task is a pure function of (step, shard): every draw
 * comes from `shard.draws`, every dropout seed from `shard.dropoutSeed`, so that resuming, accumulating and running on
 * many ranks are one mechanism (design rule 4).
 */

import type { Draws } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import type { Module } from '../nn/module.ts';

/** One logical shard of a global batch. */
export interface Shard {
  /** Optimizer step from 0. */
  readonly step: number;
  /** Shard of the step from 0. */
  readonly index: number;
  /** Indices of the training items of this shard. */
  readonly items: readonly number[];
  /** Random numbers of (seed, step, shard) for one purpose, see DrawPurpose. */
  draws(purpose: number): Draws;
  /** What libtorch's generator was seeded with before the shard, for dropout. */
  readonly dropoutSeed: number;
}

/** The mean loss of a shard, and what to log beside it. */
export interface ShardResult {
  /** Scalar, with a graph behind it. */
  loss: Tensor;
  /**
   * Scalars beside `loss`, averaged over the shards that gave them in a logging interval. Tensors are summed in place
   * and read once an interval: keep them tensors.
   */
  metrics: Record<string, Tensor | number>;
}

export interface TrainingTask {
  /** Such as `enat` or `vq`; names the run's curves. */
  readonly name: string;
  /** Trained in place: the parameters that want gradients, or all when none does. */
  readonly model: Module;
  /** Its moving average, of the same architecture; updated by the loop after every step. */
  readonly ema: Module;
  readonly numItems: number;
  /** Which item is at a place of the run, where that is not every item once an epoch: see data-order.ts. */
  itemAt?(seed: number, place: number): number;
  /** Runs inside a scope of its own with gradients on, with libtorch's generator seeded for the shard. */
  shardLoss(shard: Shard): ShardResult;
  /** After the optimizer and the EMA of a step, such as reviving dead codes. A function of the step and the state alone. */
  afterStep?(step: number, draws: (purpose: number) => Draws): void;
  /** Held-out measurements with the EMA weights, a function of them alone. Runs inside a scope without gradients. */
  evaluate?(): Record<string, number>;
}
