/**
 * The one training loop. A step: for each logical shard, seed libtorch's generator, let the task compute the mean loss of
 * each network that it trains, add its gradient divided by the number of shards; then, network by network, the norm,
 * clipping, AdamW and the moving averages; then the task's own afterStep. Everything is a function of (seed, step, shard) and the tensors, so resuming from a checkpoint ends in
 * the same bits at equal settings, threads and libtorch (design rules 4 and 5).
 *
 * The loop is an async generator: it yields what happened, and between steps it lets the event loop turn. What a consumer
 * does on a `sample` event is done before the checkpoint of the same step; so a checkpoint means that everything up to
 * its step has been written.
 */

import { Draws } from '@tessera/schedule';
import { getNumThreads, manualSeed, noGrad, scope, type Tensor, torchVersion } from '@tessera/torch';
import { pruneCheckpoints, writeCheckpoint } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import { type ShardPlan, shardAt, shardsPerStep } from './data-order.ts';
import { IntervalMetrics } from './interval-metrics.ts';
import type { RunFolder } from './run-folder.ts';
import { readState, restoreTensors, type SavedState, stateFiles } from './saved-state.ts';
import type { ComingStep, ShardResult, TrainingTask } from './task.ts';
import { Throughput } from './throughput.ts';
import { networksOf, type TrainedNetwork } from './trained-network.ts';
import { TrainingError } from './training-error.ts';

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
      await task.prepare?.((ahead) => training.coming(ahead));
      const { learningRate, gradientNorm, ofParts } = training.takeStep();
      const { step } = training;
      const isDue = (every: number) => step % every === 0 || step === config.totalSteps;

      const metrics = isDue(config.logEvery) ? training.interval.take() : undefined;
      before = performance.now();
      throughput.recordStep((before - began) / 1000);
      training.seconds += (before - began) / 1000;
      const itemsPerSecond = throughput.itemsPerSecond(config.globalBatch);
      if (metrics !== undefined) {
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
  private readonly networks: readonly [TrainedNetwork, ...TrainedNetwork[]];

  constructor(task: TrainingTask, config: TrainingConfig) {
    this.task = task;
    this.config = config;
    this.plan = {
      ...config,
      numItems: task.numItems,
      ...(task.itemAt === undefined ? {} : { itemAt: (seed, place) => task.itemAt!(seed, place) }),
    };
    this.networks = networksOf(task, config);
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
    restoreTensors(checkpoint.path, this.task, this.networks);
    this.step = state.step;
    this.seconds = state.seconds;
    this.interval = new IntervalMetrics(state.interval);
    return [...warnings, ...differences(state), ...run.openLogs(state.lengths)];
  }

  /** The step that is `ahead` steps from now; undefined past the end. */
  coming(ahead: number): ComingStep | undefined {
    const { plan, config } = this;
    const step = this.step + ahead;
    if (step >= config.totalSteps) return undefined;
    const shards = Array.from({ length: shardsPerStep(plan) }, (_, index) => shardAt(plan, step, index));
    return { step, shards, draws: (purpose) => new Draws(config.seed, step, 0, purpose) };
  }

  takeStep(): StepNumbers {
    const { task, config, step } = this;
    const numbers = scope(() => {
      try {
        return this.update(this.collectGradients());
      } finally {
        for (const network of this.networks) network.clearGradients();
      }
    });
    if (task.afterStep !== undefined) {
      const draws = (purpose: number) => new Draws(config.seed, step, 0, purpose);
      const averages = this.networks[0].averages.map(({ state }) => state);
      noGrad(() => scope(() => task.afterStep!(step, draws, averages)));
    }
    this.step += 1;
    return numbers;
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
    const { path } = writeCheckpoint(run.checkpoints, this.step, stateFiles(this.task, this.networks, state));
    pruneCheckpoints(run.checkpoints, this.config.keepCheckpoints);
    return path;
  }

  dispose(): void {
    for (const network of this.networks) network.dispose();
    this.interval.dispose();
  }

  /** Adds up the gradients of all shards. Returns the mean loss of each network that has one. */
  private collectGradients(): Map<TrainedNetwork, Tensor> {
    const numShards = shardsPerStep(this.plan);
    const sums = new Map<TrainedNetwork, Tensor>();
    for (let index = 0; index < numShards; index++) {
      const shard = shardAt(this.plan, this.step, index);
      manualSeed(shard.dropoutSeed);
      const losses = scope(() => {
        const { metrics, ...result } = this.task.shardLoss(shard);
        const detached = this.lossesOf(result).map(([network, loss]): [TrainedNetwork, Tensor] => {
          const share = numShards === 1 ? loss : loss.div(numShards);
          network.collect(share);
          this.interval.add(lossName(network), loss);
          return [network, share.detach()];
        });
        for (const [name, value] of Object.entries(metrics)) {
          if (name !== 'loss') this.interval.add(name, value);
        }
        return detached;
      });
      for (const [network, loss] of losses) sums.set(network, sums.get(network)?.add(loss) ?? loss);
    }
    return sums;
  }

  private lossesOf({ loss, partLosses = {} }: Omit<ShardResult, 'metrics'>): [TrainedNetwork, Tensor][] {
    const [main, ...parts] = this.networks;
    const unknown = Object.keys(partLosses).find((name) => !parts.some((part) => part.name === name));
    if (unknown !== undefined) {
      throw new TrainingError('PART', `${this.task.name} gave a loss for "${unknown}", which is none of its parts.`);
    }
    const ofParts = parts.flatMap((part): [TrainedNetwork, Tensor][] => {
      const own = partLosses[part.name!];
      return own === undefined ? [] : [[part, own]];
    });
    return [[main, loss], ...ofParts];
  }

  /** Moves all networks and their averages, or none when a number is not finite. */
  private update(losses: ReadonlyMap<TrainedNetwork, Tensor>): StepNumbers {
    const norms = [...losses].map(([network, loss]): [TrainedNetwork, number] => {
      const [norm, value] = [network.gradientNorm(), loss.item()];
      if (!Number.isFinite(norm) || !Number.isFinite(value)) throw this.notFinite(network, value, norm);
      return [network, norm];
    });
    const numbers: StepNumbers = { learningRate: 0, gradientNorm: 0, ofParts: {} };
    for (const [network, norm] of norms) {
      const learningRate = network.update(this.step, norm);
      if (network.name === undefined) Object.assign(numbers, { learningRate, gradientNorm: norm });
      else numbers.ofParts[`${network.name}GradientNorm`] = norm;
    }
    return numbers;
  }

  private notFinite(network: TrainedNetwork, loss: number, norm: number): TrainingError {
    const whose = network.name === undefined ? '' : ` of the ${network.name}`;
    const broken = network.brokenParameter();
    const what = Number.isFinite(loss)
      ? `the gradient${whose} in step ${this.step + 1} has the norm ${norm}` +
        `${broken === undefined ? '' : ` (first at ${broken})`}, though the loss is ${loss}`
      : `the loss${whose} in step ${this.step + 1} is ${loss}`;
    return new TrainingError(
      'NOT_FINITE',
      `${this.task.name}: ${what}; the weights and the last checkpoint were left as they were. Start again with a lower ` +
        'learning rate, or set "clip".',
    );
  }
}

/** What a step logs beside the metrics. */
interface StepNumbers {
  learningRate: number;
  gradientNorm: number;
  /** Such as `discriminatorGradientNorm`. */
  ofParts: Record<string, number>;
}

/** The loss of a network among the metrics. */
function lossName({ name }: TrainedNetwork): string {
  return name === undefined ? 'loss' : `${name}Loss`;
}

/** What makes the bits of the rest of a run differ from those of an undisturbed one. */
function differences(state: SavedState): string[] {
  const warnings: string[] = [];
  if (state.torch !== torchVersion()) warnings.push(`libtorch ${state.torch} before, ${torchVersion()} now`);
  if (state.threads !== getNumThreads()) warnings.push(`${state.threads} threads before, ${getNumThreads()} now`);
  return warnings.map((what) => `The checkpoint was made with ${what}: the result may differ in its last bits.`);
}
