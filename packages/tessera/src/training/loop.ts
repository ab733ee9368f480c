/**
 * The one training loop. A step: for each logical shard, seed libtorch's generator, let the task compute the mean loss,
 * add its gradient divided by the number of shards; then the norm, clipping, AdamW, the moving average and the task's
 * own afterStep. Everything is a function of (seed, step, shard) and the tensors, so resuming from a checkpoint ends in
 * the same bits at equal settings, threads and libtorch (design rules 4 and 5).
 *
 * The loop is an async generator: it yields what happened, and between steps it lets the event loop turn. What a consumer
 * does on a `sample` event is done before the checkpoint of the same step; so a checkpoint means that everything up to
 * its step has been written.
 */

import { Draws, emaDecayAt, learningRateAt } from '@tessera/schedule';
import { getNumThreads, manualSeed, noGrad, scope, torchVersion } from '@tessera/torch';
import { AdamW } from '../nn/adamw.ts';
import { Ema } from '../nn/ema.ts';
import { clipByNorm, globalNorm, gradientsOf } from '../nn/gradients.ts';
import { pruneCheckpoints, writeCheckpoint } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import { type ShardPlan, shardAt, shardsPerStep } from './data-order.ts';
import { IntervalMetrics } from './interval-metrics.ts';
import type { RunFolder } from './run-folder.ts';
import { readState, restoreTensors, type SavedState, stateFiles } from './saved-state.ts';
import type { TrainingTask } from './task.ts';
import { Throughput } from './throughput.ts';
import { TrainingError } from './training-error.ts';

/** `step` is always the number of optimizer steps done. */
export type TrainingEvent =
  /** First of all events. `resumed`: from a checkpoint, otherwise from nothing. */
  | { kind: 'start'; step: number; totalSteps: number; resumed: boolean }
  /** Something that the person should know, such as a removed checkpoint. */
  | { kind: 'warning'; step: number; message: string }
  /** After every step. `metrics`: means over the logging interval that ends here, `loss` first. */
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
  /** Ends the run after the step under way, with a checkpoint. */
  signal?: AbortSignal;
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
  const training = new Training(task, config);
  try {
    const warnings = training.restore(run);
    yield { kind: 'start', step: training.step, totalSteps: config.totalSteps, resumed: training.step > 0 };
    for (const message of warnings) yield { kind: 'warning', step: training.step, message };

    let saved = training.step;
    const throughput = new Throughput();
    let before = performance.now();
    while (training.step < config.totalSteps && !options.signal?.aborted) {
      const began = performance.now();
      throughput.recordPause((began - before) / 1000);
      const { learningRate, gradientNorm } = training.takeStep();
      const { step } = training;
      const isDue = (every: number) => step % every === 0 || step === config.totalSteps;

      const metrics = isDue(config.logEvery) ? training.interval.take() : undefined;
      before = performance.now();
      throughput.recordStep((before - began) / 1000);
      training.seconds += (before - began) / 1000;
      const itemsPerSecond = throughput.itemsPerSecond(config.globalBatch);
      if (metrics !== undefined) {
        run.log(step, 'train', { ...metrics, learningRate, gradientNorm });
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
      if (task.evaluate !== undefined && isDue(config.evaluateEvery)) {
        const heldOut = noGrad(() => scope(() => task.evaluate!()));
        run.log(step, 'evaluation', heldOut);
        yield { kind: 'evaluation', step, metrics: heldOut };
      }
      if (isDue(config.sampleEvery)) yield { kind: 'sample', step, folder: run.samples };
      // Signals and timers are handled here.
      await new Promise((resolve) => setImmediate(resolve));
      if (isDue(config.checkpointEvery) || options.signal?.aborted) {
        yield { kind: 'checkpoint', step, path: training.save(run) };
        saved = step;
      }
    }
    // The signal may have come while a consumer handled an event.
    if (saved < training.step) yield { kind: 'checkpoint', step: training.step, path: training.save(run) };
    const finished = training.step === config.totalSteps;
    yield { kind: 'end', step: training.step, finished, seconds: training.seconds };
  } finally {
    training.dispose();
  }
}

/** The state of a run between two steps. */
class Training {
  /** Optimizer steps done. */
  step = 0;
  /** Time spent in steps, over all starts. */
  seconds = 0;
  interval = new IntervalMetrics();
  private readonly task: TrainingTask;
  private readonly config: TrainingConfig;
  private readonly plan: ShardPlan;
  private readonly optimizer: AdamW;
  private readonly ema: Ema;

  constructor(task: TrainingTask, config: TrainingConfig) {
    this.task = task;
    this.config = config;
    const parameters = [...task.model.parameters.values()];
    if (!parameters.some((parameter) => parameter.requiresGrad)) task.model.trainable();
    this.plan = {
      ...config,
      numItems: task.numItems,
      ...(task.itemAt === undefined ? {} : { itemAt: (seed, place) => task.itemAt!(seed, place) }),
    };
    this.ema = new Ema(task.ema, task.model);
    this.optimizer = new AdamW(task.model.parameters, {
      betas: config.betas,
      eps: config.eps,
      weightDecay: config.weightDecay,
      groups:
        config.weightDecayOn === 'all'
          ? []
          : [{ matches: (_name, parameter) => parameter.shape.length < 2, weightDecay: 0 }],
    });
  }

  /** Continues from the newest checkpoint, if there is one, and opens the logs. Returns warnings. */
  restore(run: RunFolder): string[] {
    const { checkpoint, warnings } = run.latestCheckpoint();
    if (checkpoint === undefined) return [...warnings, ...run.openLogs()];
    const state = readState(checkpoint.path);
    if (state.configHash !== run.configHash || state.task !== this.task.name) {
      throw new TrainingError(
        'RUN_CONFIG_DIFFERS',
        `${checkpoint.path} was written by ${state.task} with other settings than this run of ${this.task.name}: ` +
          'choose another folder, or remove its checkpoints.',
      );
    }
    restoreTensors(checkpoint.path, this.task, this.optimizer);
    this.step = state.step;
    this.seconds = state.seconds;
    this.interval = new IntervalMetrics(state.interval);
    return [...warnings, ...differences(state), ...run.openLogs(state.lengths)];
  }

  takeStep(): { learningRate: number; gradientNorm: number } {
    const { task, config, step } = this;
    const learningRate = learningRateAt(config.learningRate, step);
    const gradientNorm = scope(() => {
      try {
        this.accumulateGradients();
        return this.update(learningRate);
      } finally {
        task.model.clearGradients();
      }
    });
    const draws = (purpose: number) => new Draws(config.seed, step, 0, purpose);
    if (task.afterStep !== undefined) noGrad(() => scope(() => task.afterStep!(step, draws)));
    this.step += 1;
    return { learningRate, gradientNorm };
  }

  /** Writes a checkpoint and removes old ones. Returns its folder. */
  save(run: RunFolder): string {
    const state: SavedState = {
      formatVersion: 1,
      step: this.step,
      task: this.task.name,
      configHash: run.configHash,
      lengths: run.logLengths(),
      interval: this.interval.state(),
      seconds: this.seconds,
      torch: torchVersion(),
      threads: getNumThreads(),
    };
    const { path } = writeCheckpoint(run.checkpoints, this.step, stateFiles(this.task, this.optimizer, state));
    pruneCheckpoints(run.checkpoints, this.config.keepCheckpoints);
    return path;
  }

  dispose(): void {
    this.optimizer.dispose();
    this.interval.dispose();
  }

  private accumulateGradients(): void {
    const numShards = shardsPerStep(this.plan);
    for (let index = 0; index < numShards; index++) {
      const shard = shardAt(this.plan, this.step, index);
      manualSeed(shard.dropoutSeed);
      scope(() => {
        const { loss, metrics } = this.task.shardLoss(shard);
        (numShards === 1 ? loss : loss.div(numShards)).backward();
        this.interval.add('loss', loss);
        for (const [name, value] of Object.entries(metrics)) {
          if (name !== 'loss') this.interval.add(name, value);
        }
      });
    }
  }

  /** Moves the weights and their average by the gradients; returns the global norm before clipping. */
  private update(learningRate: number): number {
    const { task, config } = this;
    const gradients = gradientsOf(task.model.parameters.values());
    const norm = globalNorm(gradients);
    if (!Number.isFinite(norm)) throw this.notFinite(norm);
    if (config.clip !== undefined) clipByNorm(gradients, norm, config.clip);
    this.optimizer.step(learningRate);
    this.ema.update(emaDecayAt(config.ema, this.step));
    return norm;
  }

  private notFinite(norm: number): TrainingError {
    return new TrainingError(
      'NOT_FINITE',
      `${this.task.name}: the gradient of step ${this.step + 1} has the norm ${norm}, so the loss is not a number or ` +
        'has overflowed; the weights were left as they were. Start again with a lower learning rate, or set "clip".',
    );
  }
}

/** What makes the bits of the rest of a run differ from those of an undisturbed one. */
function differences(state: SavedState): string[] {
  const warnings: string[] = [];
  if (state.torch !== torchVersion()) warnings.push(`libtorch ${state.torch} before, ${torchVersion()} now`);
  if (state.threads !== getNumThreads()) warnings.push(`${state.threads} threads before, ${getNumThreads()} now`);
  return warnings.map((what) => `The checkpoint was made with ${what}: the result may differ in its last bits.`);
}
