/**
 * Which items a step trains on, and with which random numbers: functions of (seed, step, shard) alone, so that a run
 * can begin at any step (design rule 4). The run is one endless list of items, epoch after epoch, each epoch in its own
 * order; a step takes the next `globalBatch` of them, whether or not an epoch ends in between.
 */

import { DrawPurpose, Draws, epochOrder } from '@tessera/schedule';
import type { Shard } from './task.ts';

export interface ShardPlan {
  seed: number;
  globalBatch: number;
  shardSize: number;
  numItems: number;
  /** Another order than every item once an epoch, such as of weighted sources. */
  itemAt?(seed: number, place: number): number;
  /** Each step takes the second of two batches. */
  discardsBatches?: boolean;
}

export function shardsPerStep(plan: ShardPlan): number {
  return plan.globalBatch / plan.shardSize;
}

/** Item number `place` of the whole run. */
export function itemAt(seed: number, place: number, numItems: number): number {
  return epochOrder(seed, Math.floor(place / numItems), place % numItems, numItems);
}

/** Shard `index` of step `step`, both from 0. */
export function shardAt(plan: ShardPlan, step: number, index: number): Shard {
  const batch = plan.discardsBatches === true ? 2 * step + 1 : step;
  const first = batch * plan.globalBatch + index * plan.shardSize;
  const items = Array.from({ length: plan.shardSize }, (_, j) =>
    plan.itemAt === undefined ? itemAt(plan.seed, first + j, plan.numItems) : plan.itemAt(plan.seed, first + j),
  );
  return {
    step,
    index,
    items,
    draws: (purpose) => new Draws(plan.seed, step, index, purpose),
    dropoutSeed: new Draws(plan.seed, step, index, DrawPurpose.DROPOUT).word(),
  };
}
