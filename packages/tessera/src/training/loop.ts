/**
 * The one training loop: what happens after which step. The step itself is training-state.ts's. Everything is a function of
 * (seed, step, shard) and the tensors, so resuming from a checkpoint ends in the same bits at equal settings, threads and
 * libtorch, and any number of ranks trains the same (design rules 4 and 5).
 *
 * The loop is an async generator: it yields what happened, and between steps it lets the event loop turn. What a consumer
 * does on a `sample` event is done before the checkpoint of the same step; so a checkpoint means that everything up to
 * its step has been written. All ranks run the loop; the first one alone writes, is asked for samples and tells of
 * checkpoints, and the others wait for it at the next step.
 */

import { noGrad, scope } from '@tessera/torch';
import type { TrainingConfig } from './config.ts';
import { Ranks } from './ranks.ts';
import type { RunFolder } from './run-folder.ts';
import type { TrainingTask } from './task.ts';
import { Throughput } from './throughput.ts';
import { TrainingState } from './training-state.ts';

/** `step` is always the number of optimizer steps done. */
export type TrainingEvent =
  /** First of all events. `resumed`: from a checkpoint, otherwise from nothing. */
  | { kind: 'start'; step: number; totalSteps: number; resumed: boolean }
  /** Something that the person should know, such as a removed checkpoint. */
  | { kind: 'warning'; step: number; message: string }
  /**
   * After every step; rate and norm are the main network's. `metrics`: means over the logging interval that ends here,
   * `loss` first, then the losses of the other parts, such as `discriminatorLoss`.
   */
  | {
      kind: 'step';
      step: number;
      totalSteps: number;
      learningRate: number;
      gradientNorm: number;
      itemsPerSecond: number;
      secondsLeft: number;
      metrics?: Record<string, number>;
    }
  | { kind: 'evaluation'; step: number; metrics: Record<string, number> }
  /** A request: draw samples with the averaged weights into `folder`. */
  | { kind: 'sample'; step: number; folder: string }
  | { kind: 'checkpoint'; step: number; path: string }
  /** Last of all events: `finished` is false when the signal ended the run early. */
  | { kind: 'end'; step: number; finished: boolean; seconds: number };

export interface TrainLoopOptions {
  /** Ends the run after the step under way, or among several ranks the one after it, with a checkpoint. */
  signal?: AbortSignal;
  /** The processes that train together; default: this one alone. */
  ranks?: Ranks;
  /** Each rank keeps the optimizer's state of a share of the weights alone (ZeRO stage 1). The result is the same. */
  shardOptimizer?: boolean | undefined;
}

/**
 * Trains a task to the end, from the newest checkpoint of the run or from the weights that the task comes with.
 * Parameters that want gradients are trained; when none does, all are (Module.trainable). The task and the run stay open.
 */
export async function* trainLoop(
  task: TrainingTask,
  config: TrainingConfig,
  run: RunFolder,
  options: TrainLoopOptions = {},
): AsyncGenerator<TrainingEvent, void, void> {
  const { signal, ranks = new Ranks(), shardOptimizer } = options;
  const training = new TrainingState(task, config, ranks, shardOptimizer);
  // Several ranks stop together, when the step has told all of them; one alone looks for itself.
  const isStopping = () => (ranks.size === 1 ? signal?.aborted === true : training.stopping);
  try {
    const warnings = await training.restore(run);
    yield { kind: 'start', step: training.step, totalSteps: config.totalSteps, resumed: training.step > 0 };
    for (const message of warnings) yield { kind: 'warning', step: training.step, message };

    let saved = training.step;
    const throughput = new Throughput();
    let before = performance.now();
    while (training.step < config.totalSteps && !isStopping()) {
      const began = performance.now();
      throughput.recordPause((began - before) / 1000);
      await task.prepare?.((ahead) => training.coming(ahead));
      const { learningRate, gradientNorm, ofParts } = training.takeStep(signal?.aborted === true);
      const { step } = training;
      const isDue = (every: number) => step % every === 0 || step === config.totalSteps;

      const metrics = isDue(config.logEvery) ? await training.takeMetrics() : undefined;
      before = performance.now();
      throughput.recordStep((before - began) / 1000);
      training.seconds += (before - began) / 1000;
      const itemsPerSecond = throughput.itemsPerSecond(config.globalBatch);
      if (metrics !== undefined && ranks.isFirst) {
        run.log(step, 'train', { ...metrics, learningRate, gradientNorm, ...ofParts });
        run.curves(step, 'speed', { itemsPerSecond });
      }
      const secondsLeft = throughput.secondsLeft(config.totalSteps - step);
      yield {
        kind: 'step',
        step,
        totalSteps: config.totalSteps,
        learningRate,
        gradientNorm,
        itemsPerSecond,
        secondsLeft,
        ...(metrics === undefined ? {} : { metrics }),
      };
      const { pieces } = task;
      if ((ranks.isFirst || pieces !== undefined) && task.evaluate !== undefined && isDue(config.evaluateEvery)) {
        const heldOut = noGrad(() => scope(() => task.evaluate!()));
        if (ranks.isFirst) {
          run.log(step, 'evaluation', heldOut);
          yield { kind: 'evaluation', step, metrics: heldOut };
        }
      }
      if (isDue(config.sampleEvery)) {
        pieces?.assemble(ranks.isFirst);
        if (ranks.isFirst) yield { kind: 'sample', step, folder: run.samples };
        pieces?.takeApart();
      }
      // Signals and timers are handled here.
      await new Promise((resolve) => setImmediate(resolve));
      if (isDue(config.checkpointEvery) || isStopping()) {
        const path = await training.save(run);
        if (ranks.isFirst) yield { kind: 'checkpoint', step, path };
        saved = step;
      }
    }
    // The signal may have come while a consumer handled an event.
    if (saved < training.step) {
      const path = await training.save(run);
      if (ranks.isFirst) yield { kind: 'checkpoint', step: training.step, path };
    }
    const finished = training.step === config.totalSteps;
    yield { kind: 'end', step: training.step, finished, seconds: training.seconds };
  } finally {
    training.dispose();
  }
}
