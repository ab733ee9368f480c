/**
 * A network in training: its gradients, optimizer and moving averages, and the files that hold them in a checkpoint. A
 * run has one of them, or one for each part of its task. The main network's files are `model`, `ema` and `optimizer`
 * .safetensors; those of a part `discriminator` are `discriminator`, `discriminator-ema` and `discriminator-optimizer`.
 * Averages by further decays have the decay in their name, as in `ema-0.999.safetensors`.
 *
 * Among several ranks each keeps all of that, or all but the optimizer's state, of which it has a share
 * (optimizer-share.ts), or a piece of every parameter (sharded-module.ts). What a rank alone has it writes as its part
 * (stored-tensors.ts); what all have, the first one writes.
 */

import { emaDecayAt, learningRateAt } from '@tessera/schedule';
import { DataParallelReducer, isfinite, keep, noGrad, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { AdamW } from '../nn/adamw.ts';
import { Ema } from '../nn/ema.ts';
import { clipByNorm, globalNorm, gradientsOf } from '../nn/gradients.ts';
import type { Trainable } from '../nn/module.ts';
import { loadInto } from '../nn/state-dict.ts';
import type { CheckpointFile } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import { OptimizerShare } from './optimizer-share.ts';
import { Ranks } from './ranks.ts';
import { parameterOf, ShardedModule } from './sharded-module.ts';
import { partName, StoredTensors, savePart } from './stored-tensors.ts';
import type { OptimizerSettings, TrainingTask } from './task.ts';

interface Average {
  /** By official name; those of the task's own module, or the network's further ones. */
  readonly state: ReadonlyMap<string, Tensor>;
  readonly ema: Ema;
  readonly settings: TrainingConfig['ema'][number];
  /** Of its file, without what comes after the name. */
  readonly stem: string;
  /** Whether this rank has only its share of it. */
  readonly isShare: boolean;
}

/** What a network of a task is, the main one or another part. */
interface Description {
  /** Undefined for the main network. */
  name: string | undefined;
  model: Trainable;
  ema?: Trainable | undefined;
  optimizer?: Partial<OptimizerSettings> | undefined;
}

export class TrainedNetwork {
  /** Undefined for the main network. */
  readonly name: string | undefined;
  readonly averages: readonly Average[];
  private readonly model: Trainable;
  private readonly settings: OptimizerSettings;
  private readonly optimizer: AdamW;
  /** The parameters that want gradients. */
  private readonly leaves: readonly Tensor[];
  private readonly ranks: Ranks;
  /** Averages gradients over the ranks; none for one process alone, nor where the task does it. */
  private readonly reducer: DataParallelReducer | undefined;
  /** The model, where its tensors are pieces. */
  private readonly pieces: ShardedModule | undefined;
  /** What of the optimizer's state is this rank's, where it is not all. */
  private readonly share: OptimizerShare | undefined;

  /** @param shardOptimizer each rank keeps a share of the moments, and of the averages that only checkpoints need */
  constructor(
    { name, model, ema, optimizer }: Description,
    config: TrainingConfig,
    ranks: Ranks,
    shardOptimizer = false,
  ) {
    this.name = name;
    this.model = model;
    this.settings = { ...config, ...optimizer };
    const parameters = [...model.parameters.values()];
    if (!parameters.some((parameter) => parameter.requiresGrad)) model.trainable();
    this.leaves = parameters.filter((parameter) => parameter.requiresGrad);
    this.ranks = ranks;
    if (model instanceof ShardedModule) this.pieces = model;
    else if (ranks.group !== undefined) {
      if (shardOptimizer) this.share = new OptimizerShare(model, ranks);
      // Which parameters a shard uses may depend on its draws, as in ENAT's reuse.
      this.reducer = new DataParallelReducer(ranks.group, this.leaves, { findUnusedParameters: true });
    }
    this.averages = ema === undefined ? [] : config.ema.map((settings, i) => this.average(ema, settings, i));
    const { betas, eps, weightDecay, weightDecayOn } = this.settings;
    const isVector = (name: string) => (this.pieces?.wholeShape(name) ?? model.parameters.get(name)!.shape).length < 2;
    this.optimizer = new AdamW(this.share?.own(model.parameters) ?? model.parameters, {
      betas,
      eps,
      weightDecay,
      groups: weightDecayOn === 'all' ? [] : [{ matches: isVector, weightDecay: 0 }],
    });
  }

  /**
   * Adds the gradient of a loss to this network's parameters, and to no others. The last of a rank's losses in a step also
   * makes the sum of all of them the mean over the ranks.
   */
  collect(loss: Tensor, isLast = true): void {
    const backward = () => loss.backward(undefined, { leaves: this.leaves });
    if (this.reducer === undefined || !isLast) {
      backward();
      return;
    }
    this.reducer.prepareForBackward(loss);
    this.ranks.group!.watched('backward', backward);
  }

  get device(): string {
    return this.leaves[0]!.device;
  }

  /** Those weights, buffers and averages that all ranks have; borrowed. */
  common(): Tensor[] {
    if (this.pieces !== undefined) return this.pieces.buffers;
    const averages = this.averages.filter(({ isShare }) => !isShare);
    return [this.model, ...averages].flatMap(({ state }) => [...state.values()]);
  }

  /** Buffers that forward passes move. */
  get statistics(): Tensor[] {
    return this.model.statistics;
  }

  /** What was collected, as handles of the current scope. */
  gradients(): Tensor[] {
    return gradientsOf(this.leaves);
  }

  /** The global norm of what was collected. */
  gradientNorm(): number {
    const own = scope(() => globalNorm(gradientsOf(this.leaves)));
    return this.pieces === undefined ? own : Math.sqrt(this.ranks.sum([own ** 2])[0]!);
  }

  /** The first parameter whose gradient is not finite. */
  brokenParameter(): string | undefined {
    for (const [name, { grad }] of this.model.parameters) {
      if (grad !== undefined && !noGrad(() => scope(() => isfinite(grad).all().item()))) return name;
    }
    return undefined;
  }

  /** Moves the weights by the gradients, of the given norm, and the averages after them. Returns the learning rate. */
  update(step: number, norm: number): number {
    const { clip, learningRate: curve } = this.settings;
    const learningRate = learningRateAt(curve, step);
    scope(() => {
      if (clip !== undefined) clipByNorm(gradientsOf(this.leaves), norm, clip);
      this.optimizer.step(learningRate);
      this.share?.exchange();
      for (const { ema, settings } of this.averages) ema.update(emaDecayAt(settings, step));
    });
    return learningRate;
  }

  /** A step whose gradients overflowed: the weights and the optimizer stay, the averages move on. */
  passOver(step: number): number {
    for (const { ema, settings } of this.averages) ema.update(emaDecayAt(settings, step));
    return learningRateAt(this.settings.learningRate, step);
  }

  clearGradients(): void {
    this.model.clearGradients();
  }

  /** The optimizer's state by name, as AdamW names it; this rank's share of it; borrowed. */
  moments(): ReadonlyMap<string, Tensor> {
    return this.optimizer.state();
  }

  /** Those that this rank writes, for writeCheckpoint. */
  files(): CheckpointFile[] {
    return [
      ...this.fileOf(this.stem('model'), this.model.state, false),
      ...this.averages.flatMap(({ stem, state, isShare }) => this.fileOf(stem, state, isShare)),
      ...this.fileOf(this.stem('optimizer'), this.moments(), this.share !== undefined),
    ];
  }

  /** Puts a checkpoint's tensors in place. */
  restore(checkpoint: string): void {
    const from = (stem: string, load: (stored: StoredTensors) => void): void => {
      const stored = new StoredTensors(checkpoint, stem);
      try {
        scope(() => load(stored));
      } finally {
        stored.close();
      }
    };
    const { pieces, share } = this;
    for (const { stem, state, isShare } of [
      { stem: this.stem('model'), ...this.model, isShare: false },
      ...this.averages,
    ]) {
      from(stem, (stored) => {
        if (pieces !== undefined) pieces.restore(state, stored);
        else loadInto({ state }, stored.readAll(isShare ? (name) => state.has(name) : undefined), stored.path);
      });
    }
    from(this.stem('optimizer'), (stored) => {
      // What no parameter has is read too: AdamW names it.
      const isOthers = (name: string) => this.model.parameters.has(name) && !share!.isOwn(name);
      const tensors =
        pieces?.readMoments(stored) ??
        stored.readAll(share === undefined ? undefined : (key) => !isOthers(parameterOf(key)));
      this.optimizer.load(tensors, stored.path);
    });
  }

  /** Frees what is not the task's. */
  dispose(): void {
    this.reducer?.dispose();
    this.optimizer.dispose();
    for (const { state } of this.averages.slice(1)) for (const tensor of state.values()) tensor.dispose();
  }

  /** The first average is the task's module, further ones start as copies of it. */
  private average(module: Trainable, settings: Average['settings'], index: number): Average {
    const stem = this.stem(index === 0 ? 'ema' : `ema-${settings.decay}`);
    if (index === 0)
      return { state: module.state, ema: new Ema(module.state, this.model), settings, stem, isShare: false };
    const { share } = this;
    const own = (tensors: ReadonlyMap<string, Tensor>) => share?.own(tensors) ?? tensors;
    const copy = (tensor: Tensor): Tensor => noGrad(() => scope(() => keep(tensor.clone())));
    const state = new Map([...own(module.state)].map(([name, tensor]) => [name, copy(tensor)]));
    const ema = new Ema(state, { state: own(this.model.state), parameters: own(this.model.parameters) });
    return { state, ema, settings, stem, isShare: share !== undefined };
  }

  private stem(what: string): string {
    return this.name === undefined ? what : what === 'model' ? this.name : `${this.name}-${what}`;
  }

  /** What this rank writes of these tensors: its part, or all of them, or nothing. */
  private fileOf(stem: string, tensors: ReadonlyMap<string, Tensor>, isShare: boolean): CheckpointFile[] {
    const { pieces, ranks } = this;
    const part = partName(stem, ranks.rank, ranks.size);
    if (pieces !== undefined) return [[part, (path) => pieces.savePart(path, tensors)]];
    if (isShare) return [[part, (path) => savePart(path, tensors)]];
    return ranks.isFirst ? [[`${stem}.safetensors`, (path) => saveSafetensors(path, tensors)]] : [];
  }
}

/** The main network first, then the task's parts. */
export function networksOf(
  task: TrainingTask,
  config: TrainingConfig,
  ranks: Ranks = new Ranks(),
  shardOptimizer = false,
): [TrainedNetwork, ...TrainedNetwork[]] {
  const { model, ema, parts = [] } = task;
  return [
    new TrainedNetwork({ name: undefined, model, ema }, config, ranks, shardOptimizer),
    ...parts.map((part) => new TrainedNetwork(part, config, ranks, shardOptimizer)),
  ];
}
