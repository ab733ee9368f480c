/** How fast this machine trains, from a few steps on networks that are thrown away: what a plan turns minutes into. */

import { DrawPurpose } from '@tessera/schedule';
import { manualSeed, scope } from '@tessera/torch';
import { shardAt } from '../../training/data-order.ts';
import type { TrainingTask } from '../../training/task.ts';

const WARM_UP = 1;
const MIN_STEPS = 3;
const MIN_SECONDS = 1.5;

/** Seconds of a step of `globalBatch` items: forward and backward; the optimizer adds little. */
export function secondsPerStep(task: TrainingTask, globalBatch: number): number {
  const networks = [task, ...(task.parts ?? [])].map(({ model }) => model);
  for (const network of networks) network.trainable();
  const plan = { seed: 0, globalBatch, shardSize: globalBatch, numItems: task.numItems };
  let steps = 0;
  let seconds = 0;
  for (let step = 0; steps < MIN_STEPS || seconds < MIN_SECONDS; step++) {
    const shard = shardAt(plan, step, 0);
    manualSeed(shard.draws(DrawPurpose.DROPOUT).word());
    const began = performance.now();
    scope(() => {
      const { loss, partLosses = {} } = task.shardLoss(shard);
      loss.backward(undefined, { leaves: [...task.model.parameters.values()] });
      for (const { name, model } of task.parts ?? []) {
        partLosses[name]?.backward(undefined, { leaves: [...model.parameters.values()] });
      }
    });
    for (const network of networks) network.clearGradients();
    if (step < WARM_UP) continue;
    steps++;
    seconds += (performance.now() - began) / 1000;
  }
  for (const network of networks) network.trainable(false);
  return seconds / steps;
}
