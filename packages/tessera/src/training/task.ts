/**
 * What the one training loop needs to know of what it trains. A task owns its networks and its data; the loop owns
 * order, shards, optimizers, schedules, checkpoints and logs. The task is a pure function of (step, shard): every draw
 * comes from `shard.draws`, every dropout seed from `shard.dropoutSeed`, so that resuming, accumulating and running on
 * many ranks are one mechanism (design rule 4).
 *
 * Most tasks train one network. A task may list others that are trained beside it, each by a loss and an optimizer of
 * its own, such as a discriminator. All losses of a step are made before any network moves, and each reaches the
 * weights of its own network alone.
 */

import type { Draws } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import type { Trainable } from '../nn/module.ts';
import type { TrainingConfig } from './config.ts';
import type { Ranks } from './ranks.ts';

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
  /**
   * What the loop multiplies the loss by before its backward pass, so that float16 keeps small gradients; default 1. Only
   * what makes gradients by itself needs it.
   */
  readonly lossScale?: number | undefined;
}

/** What a coming step will ask a task for. */
export interface ComingStep {
  readonly step: number;
  readonly shards: readonly Shard[];
  /** Those that `afterStep` will get. */
  draws(purpose: number): Draws;
}

/** The mean loss of a shard, and what to log beside it. */
export interface ShardResult {
  /** Scalar, with a graph behind it. Its gradient goes to `model` alone. */
  loss: Tensor;
  /**
   * The losses of the task's other parts by name, each for that part alone; a part without one does not move in this
   * step. Which parts have one is a function of the step alone, the same for all its shards. No two losses share a graph: detach what passes from one to the other.
   */
  partLosses?: Readonly<Record<string, Tensor>>;
  /** What the task is to remember of this shard, such as its tokens: int64, of one shape for all shards. See observe. */
  observed?: Tensor;
  /**
   * Scalars beside `loss`, averaged over the shards that gave them in a logging interval. Tensors are summed in place
   * and read once an interval: keep them tensors.
   */
  metrics: Record<string, Tensor | number>;
}

/** How a network moves; what a part leaves out is as in the run's settings. */
export type OptimizerSettings = Pick<
  TrainingConfig,
  'learningRate' | 'betas' | 'eps' | 'weightDecay' | 'weightDecayOn' | 'clip'
>;

/** A network that is trained beside the main one. */
export interface TrainedPart {
  /** Names its files, metrics and errors, such as `discriminator`: lower-case letters and hyphens. */
  readonly name: string;
  /** As TrainingTask.model. */
  readonly model: Trainable;
  /** Its moving average, where one is wanted. */
  readonly ema?: Trainable;
  readonly optimizer?: Partial<OptimizerSettings>;
}

export interface TrainingTask {
  /** Such as `enat` or `vq`; names the run's curves. */
  readonly name: string;
  /** Trained in place: the parameters that want gradients, or all when none does. */
  readonly model: Trainable;
  /** Its moving average, of the same architecture; updated by the loop after every step. */
  readonly ema: Trainable;
  /** Networks trained beside `model`. */
  readonly parts?: readonly TrainedPart[];
  /** Other tensors that the task changes as it goes, by name: saved with each checkpoint and restored from it. */
  readonly memory?: ReadonlyMap<string, Tensor>;
  readonly numItems: number;
  /** Which item is at a place of the run, where that is not every item once an epoch: see data-order.ts. */
  itemAt?(seed: number, place: number): number;
  /**
   * Awaited before each step, for what must be fetched: `coming(0)` is that step, `coming(1)` the next one; undefined
   * past the last.
   */
  prepare?(coming: (ahead: number) => ComingStep | undefined): Promise<void>;
  /** Runs inside a scope of its own with gradients on, with libtorch's generator seeded for the shard. */
  shardLoss(shard: Shard): ShardResult;
  /**
   * What all shards of a step observed, in their order, [shards, ...]; on every rank, before anything moves. The place to
   * change `memory`. Returns metrics.
   */
  observe?(all: Tensor): Record<string, Tensor | number>;
  /**
   * After the optimizers and the averages of a step, such as reviving dead codes. A function of the step and the state
   * alone. `averages`: the tensors of each moving average of `model`, those of `ema` first. All ranks call it; what one of
   * them computes may differ from the others' in its last bits, so whatever it changes must come from the first.
   */
  afterStep?(
    step: number,
    draws: (purpose: number) => Draws,
    averages: readonly ReadonlyMap<string, Tensor>[],
    ranks: Ranks,
  ): void;
  /** Held-out measurements with the EMA weights, a function of them alone. Runs inside a scope without gradients. */
  evaluate?(): Record<string, number>;
  /**
   * For tasks whose ranks have only pieces of the networks: all ranks evaluate, and before samples are drawn on the first
   * rank all call `assemble`, afterwards `takeApart`.
   */
  pieces?: { assemble(isWanted: boolean): void; takeApart(): void } | undefined;
}
