/**
 * The state of a run between two steps, and the step itself: gradients of this rank's shards, averaged over all shards of
 * all ranks; then, network by network, the norm, clipping, AdamW and the moving averages; then the task's own afterStep.
 *
 * With fp16 the loss is scaled, so that small gradients do not vanish (GradScaler). A step whose gradients overflow is left
 * out as PyTorch's trainers leave it out: the optimizer does not move nor count it, while the data, the schedule and the
 * averages go on; the scale is halved.
 *
 * Gradients travel while the backward pass of a rank's last shard goes on (c10d's Reducer); the shards before only add to
 * the rank's own. Losses are added up at the end of the step, and with them goes word of a rank that is to stop, so that
 * all stop after the same step.
 */

import { Draws } from '@tessera/schedule';
import { GradScaler, getNumThreads, manualSeed, noGrad, scope, type Tensor, torchVersion, zeros } from '@tessera/torch';
import { type Checkpoint, pruneCheckpoints, writeCheckpoint } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import { type ShardPlan, shardAt, shardsPerStep } from './data-order.ts';
import { IntervalMetrics, meansOf, mergeIntervals } from './interval-metrics.ts';
import type { Ranks } from './ranks.ts';
import type { RunFolder } from './run-folder.ts';
import { readState, restoreTensors, type SavedState, stateFiles } from './saved-state.ts';
import { ShardStatistics } from './shard-statistics.ts';
import type { ComingStep, ShardResult, TrainingTask } from './task.ts';
import { networksOf, type TrainedNetwork } from './trained-network.ts';
import { TrainingError } from './training-error.ts';

/** What a step logs beside the metrics. */
export interface StepNumbers {
  learningRate: number;
  gradientNorm: number;
  /** Such as `discriminatorGradientNorm`, and `lossScale` where there is one. */
  ofParts: Record<string, number>;
}

export class TrainingState {
  /** Optimizer steps done. */
  step = 0;
  /** Time spent in steps, over all starts. */
  seconds = 0;
  /** Whether some rank was to stop before the last step ended. */
  stopping = false;
  private interval = new IntervalMetrics();
  private readonly task: TrainingTask;
  private readonly config: TrainingConfig;
  private readonly ranks: Ranks;
  private readonly plan: ShardPlan;
  /** Indices of the shards of a step that this rank runs. */
  private readonly ownShards: readonly number[];
  private readonly networks: readonly [TrainedNetwork, ...TrainedNetwork[]];
  private readonly scaler: GradScaler | undefined;

  constructor(task: TrainingTask, config: TrainingConfig, ranks: Ranks, shardOptimizer = false) {
    this.task = task;
    this.config = config;
    this.ranks = ranks;
    this.plan = {
      ...config,
      numItems: task.numItems,
      ...(task.itemAt === undefined ? {} : { itemAt: (seed, place) => task.itemAt!(seed, place) }),
    };
    const numShards = shardsPerStep(this.plan);
    this.ownShards = ranks.shardsOf(numShards);
    if (task.pieces !== undefined && numShards % ranks.size !== 0) {
      throw new TrainingError(
        'RANKS',
        `Expected as many shards a step for each of ${ranks.size} ranks, since all gather the weights at once, got ` +
          `${numShards}: choose --shard-size so that the ranks divide the number of shards.`,
      );
    }
    this.networks = networksOf(task, config, ranks, shardOptimizer);
    if (config.precision === 'fp16') this.scaler = new GradScaler({ device: this.networks[0].device });
  }

  /** Continues from the newest checkpoint, if there is one, and opens the logs. Returns warnings for people. */
  async restore(run: RunFolder): Promise<string[]> {
    const { ranks } = this;
    const { checkpoint, warnings } = await ranks.decide(() => run.latestCheckpoint());
    if (checkpoint === undefined) {
      ranks.copyFromFirst(this.tensors());
      warnings.push(...(await ranks.decide(() => run.openLogs())));
    } else {
      const state = await ranks.together(() => this.load(checkpoint, run.configHash));
      if (ranks.isFirst) warnings.push(...differences(state, ranks.size));
      warnings.push(...(await ranks.decide(() => run.openLogs(state.lengths))));
    }
    await ranks.requireSameTensors('weights', this.tensors());
    return warnings;
  }

  /** This rank's part of the step that is `ahead` steps from now; undefined past the end. */
  coming(ahead: number): ComingStep | undefined {
    const { plan, config } = this;
    const step = this.step + ahead;
    if (step >= config.totalSteps) return undefined;
    const shards = this.ownShards.map((index) => shardAt(plan, step, index));
    return { step, shards, draws: (purpose) => new Draws(config.seed, step, 0, purpose) };
  }

  /** @param isStopping whether this rank has been asked to stop */
  takeStep(isStopping: boolean): StepNumbers {
    const { task, config, step } = this;
    const numbers = scope(() => {
      try {
        return this.update(this.agreed(this.collectGradients(), isStopping));
      } finally {
        for (const network of this.networks) network.clearGradients();
      }
    });
    if (task.afterStep !== undefined) {
      const draws = (purpose: number) => new Draws(config.seed, step, 0, purpose);
      const averages = this.networks[0].averages.map(({ state }) => state);
      noGrad(() => scope(() => task.afterStep!(step, draws, averages, this.ranks)));
    }
    this.step += 1;
    return numbers;
  }

  /** The means over the logging interval that ends here, of all ranks. */
  async takeMetrics(): Promise<Record<string, number>> {
    if (this.ranks.size === 1) return this.interval.take();
    const means = meansOf(mergeIntervals(await this.ranks.all(this.interval.state())));
    this.interval.dispose();
    return means;
  }

  /** Writes a checkpoint and removes old ones. Returns its folder; no rank goes on before it is whole. */
  async save(run: RunFolder): Promise<string> {
    const { ranks } = this;
    // A rank whose weights have drifted away is worth knowing of while the checkpoint before is there.
    await ranks.requireSameTensors('weights', this.tensors());
    const interval = mergeIntervals(await ranks.all(this.interval.state()));
    const state = (): SavedState => ({
      formatVersion: 1,
      step: this.step,
      task: this.task.name,
      configHash: run.configHash,
      lengths: run.logLengths(),
      interval,
      seconds: this.seconds,
      torch: torchVersion(),
      threads: getNumThreads(),
      ...(this.scaler === undefined ? {} : { lossScale: this.scaler.state() }),
      ...(ranks.size === 1 ? {} : { ranks: ranks.size }),
    });
    const files = stateFiles(this.task, this.networks, ranks, state);
    const { path } = await writeCheckpoint(run.checkpoints, this.step, files, ranks);
    await ranks.decide(() => pruneCheckpoints(run.checkpoints, this.config.keepCheckpoints));
    return path;
  }

  dispose(): void {
    for (const network of this.networks) network.dispose();
    this.scaler?.dispose();
    this.interval.dispose();
  }

  private load({ path }: Checkpoint, configHash: string): SavedState {
    const state = readState(path);
    if (state.configHash !== configHash || state.task !== this.task.name) {
      throw new TrainingError(
        'RUN_CONFIG_DIFFERS',
        `${path} was written by ${state.task} with other settings than this run of ${this.task.name}: ` +
          'choose another folder, or remove its checkpoints.',
      );
    }
    restoreTensors(path, this.task, this.networks);
    if (state.lossScale !== undefined) this.scaler?.loadState(state.lossScale);
    this.step = state.step;
    this.seconds = state.seconds;
    // The interval so far is of all ranks: one of them goes on with it.
    this.interval = new IntervalMetrics(this.ranks.isFirst ? state.interval : {});
    return state;
  }

  /** Everything that must be the same on every rank; moments follow from it. */
  private tensors(): Tensor[] {
    return [...this.networks.flatMap((network) => network.common()), ...(this.task.memory?.values() ?? [])];
  }

  /** Adds up the gradients of this rank's shards. Returns the sum of its losses for each network that has one. */
  private collectGradients(): Map<TrainedNetwork, number> {
    const { task, ranks, ownShards } = this;
    const numShards = shardsPerStep(this.plan);
    const statistics =
      numShards === 1 ? undefined : new ShardStatistics(this.networks.flatMap((network) => network.statistics));
    const observed: { index: number; tokens: Tensor }[] = [];
    const lossScale = this.scaler?.state().scale;
    const sums = new Map<TrainedNetwork, Tensor>();
    for (const [place, index] of ownShards.entries()) {
      const isLast = place === ownShards.length - 1;
      const shard = { ...shardAt(this.plan, this.step, index), lossScale };
      manualSeed(shard.dropoutSeed);
      const { losses, tokens } = scope(() => {
        const result = task.shardLoss(shard);
        const losses = this.lossesOf(result).map(([network, loss]): [TrainedNetwork, Tensor] => {
          // Reducers give the mean over the ranks of what each has added up.
          const share = numShards === ranks.size ? loss : loss.div(numShards / ranks.size);
          network.collect(this.scaler?.scale(share) ?? share, isLast);
          this.interval.add(lossName(network), loss);
          return [network, loss.detach()];
        });
        for (const [name, value] of Object.entries(result.metrics)) {
          if (name !== 'loss') this.interval.add(name, value);
        }
        return { losses, tokens: result.observed?.detach().clone() };
      });
      statistics?.afterShard();
      if (tokens !== undefined) observed.push({ index, tokens });
      for (const [network, loss] of losses) sums.set(network, sums.get(network)?.add(loss) ?? loss);
    }
    statistics?.finish(ranks, numShards);
    this.observe(observed, numShards);
    return new Map([...sums].map(([network, loss]) => [network, loss.item() / numShards]));
  }

  /** Gives the task what all shards of the step observed, in their order, on every rank. */
  private observe(observed: readonly { index: number; tokens: Tensor }[], numShards: number): void {
    const { task, ranks } = this;
    const [first] = observed;
    if (first === undefined || task.observe === undefined) return;
    noGrad(() =>
      scope(() => {
        const { shape, device } = first.tokens;
        const all = zeros([numShards, ...shape], { dtype: 'int64', device: device as 'cpu' });
        for (const { index, tokens } of observed) all.select(0, index).copy_(tokens);
        const metrics = task.observe!(ranks.addUp(all));
        // Equal on all ranks: one of them counts it.
        if (ranks.isFirst) for (const [name, value] of Object.entries(metrics)) this.interval.add(name, value);
      }),
    );
  }

  private lossesOf({ loss, partLosses = {} }: ShardResult): [TrainedNetwork, Tensor][] {
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

  /** The mean losses over the shards of all ranks, and whether to stop after this step. */
  private agreed(own: ReadonlyMap<TrainedNetwork, number>, isStopping: boolean): Map<TrainedNetwork, number> {
    const losses = this.networks.map((network) => own.get(network) ?? 0);
    const [stops, ...sums] = this.ranks.sum([isStopping ? 1 : 0, ...losses]);
    this.stopping = stops! > 0;
    return new Map([...own.keys()].map((network) => [network, sums[this.networks.indexOf(network)]!]));
  }

  /** Moves all networks and their averages, or none when a number is not finite. */
  private update(losses: ReadonlyMap<TrainedNetwork, number>): StepNumbers {
    const { scaler } = this;
    if (scaler !== undefined) {
      const own = scaler.unscale_([...losses.keys()].flatMap((network) => network.gradients()));
      // A rank may hold a piece of the gradients only.
      const isSound = this.ranks.sum([own ? 0 : 1])[0] === 0;
      const { scale } = scaler.state();
      scaler.update(isSound);
      if (this.ranks.isFirst) this.interval.add('skippedSteps', isSound ? 0 : 1);
      if (!isSound) return this.passOver(losses, scale);
    }
    const numbers = this.move(losses);
    return scaler === undefined
      ? numbers
      : { ...numbers, ofParts: { ...numbers.ofParts, lossScale: scaler.state().scale } };
  }

  /** Leaves a step out whose scaled gradients overflowed; once scaling is not to blame, that ends the run. */
  private passOver(losses: ReadonlyMap<TrainedNetwork, number>, scale: number): StepNumbers {
    const [[network, loss]] = [...losses] as [[TrainedNetwork, number]];
    if (scale <= 1) throw this.notFinite(network, loss, network.gradientNorm());
    const rates = [...losses.keys()].map((each) => each.passOver(this.step));
    return { learningRate: rates[0]!, gradientNorm: Number.POSITIVE_INFINITY, ofParts: { lossScale: scale / 2 } };
  }

  private move(losses: ReadonlyMap<TrainedNetwork, number>): StepNumbers {
    const norms = [...losses].map(([network, loss]): [TrainedNetwork, number] => {
      const norm = network.gradientNorm();
      if (!Number.isFinite(norm) || !Number.isFinite(loss)) throw this.notFinite(network, loss, norm);
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

/** The loss of a network among the metrics. */
function lossName({ name }: TrainedNetwork): string {
  return name === undefined ? 'loss' : `${name}Loss`;
}

/** What makes the bits of the rest of a run differ from those of an undisturbed one. */
function differences(state: SavedState, numRanks: number): string[] {
  const warnings: string[] = [];
  const { torch, threads, ranks: before = 1 } = state;
  const counted = (count: number): string => (count === 1 ? '1 rank' : `${count} ranks`);
  if (torch !== torchVersion()) warnings.push(`libtorch ${torch} before, ${torchVersion()} now`);
  if (threads !== getNumThreads()) warnings.push(`${threads} threads before, ${getNumThreads()} now`);
  if (before !== numRanks) warnings.push(`${counted(before)} before, ${counted(numRanks)} now`);
  return warnings.map((what) => `The checkpoint was made with ${what}: the result may differ in its last bits.`);
}
