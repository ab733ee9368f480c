/**
 * A network in training: its gradients, optimizer and moving averages, and the files that hold them in a checkpoint. A
 * run has one of them, or one for each part of its task. The main network's files are `model`, `ema` and `optimizer`
 * .safetensors; those of a part `discriminator` are `discriminator`, `discriminator-ema` and `discriminator-optimizer`.
 * Averages by further decays have the decay in their name, as in `ema-0.999.safetensors`.
 */

import { join } from 'node:path';
import { emaDecayAt, learningRateAt } from '@tessera/schedule';
import { DataParallelReducer, isfinite, keep, noGrad, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { AdamW } from '../nn/adamw.ts';
import { Ema } from '../nn/ema.ts';
import { clipByNorm, globalNorm, gradientsOf } from '../nn/gradients.ts';
import type { Module } from '../nn/module.ts';
import { loadInto } from '../nn/state-dict.ts';
import type { TrainingConfig } from './config.ts';
import { Ranks } from './ranks.ts';
import { readTensors } from './read-tensors.ts';
import type { OptimizerSettings, TrainingTask } from './task.ts';

interface Average {
  /** By official name; those of the task's own module, or the network's further ones. */
  readonly state: ReadonlyMap<string, Tensor>;
  readonly ema: Ema;
  readonly settings: TrainingConfig['ema'][number];
  readonly file: string;
}

/** What a network of a task is, the main one or another part. */
interface Description {
  /** Undefined for the main network. */
  name: string | undefined;
  model: Module;
  ema?: Module | undefined;
  optimizer?: Partial<OptimizerSettings> | undefined;
}

export class TrainedNetwork {
  /** Undefined for the main network. */
  readonly name: string | undefined;
  readonly averages: readonly Average[];
  private readonly model: Module;
  private readonly settings: OptimizerSettings;
  private readonly optimizer: AdamW;
  /** The parameters that want gradients. */
  private readonly leaves: readonly Tensor[];
  private readonly ranks: Ranks;
  /** Averages gradients over the ranks; none for one process alone. */
  private readonly reducer: DataParallelReducer | undefined;

  constructor({ name, model, ema, optimizer }: Description, config: TrainingConfig, ranks: Ranks) {
    this.name = name;
    this.model = model;
    this.settings = { ...config, ...optimizer };
    const parameters = [...model.parameters.values()];
    if (!parameters.some((parameter) => parameter.requiresGrad)) model.trainable();
    this.leaves = parameters.filter((parameter) => parameter.requiresGrad);
    this.averages = ema === undefined ? [] : config.ema.map((settings, i) => this.average(ema, settings, i));
    this.ranks = ranks;
    if (ranks.group !== undefined) {
      // Which parameters a shard uses may depend on its draws, as in ENAT's reuse.
      this.reducer = new DataParallelReducer(ranks.group, this.leaves, { findUnusedParameters: true });
    }
    const { betas, eps, weightDecay, weightDecayOn } = this.settings;
    this.optimizer = new AdamW(model.parameters, {
      betas,
      eps,
      weightDecay,
      groups:
        weightDecayOn === 'all' ? [] : [{ matches: (_name, parameter) => parameter.shape.length < 2, weightDecay: 0 }],
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

  /** Weights, buffers and averages; borrowed. */
  tensors(): Tensor[] {
    return [...this.model.state.values(), ...this.averages.flatMap(({ state }) => [...state.values()])];
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
    return scope(() => globalNorm(gradientsOf(this.leaves)));
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

  /** The optimizer's state by name, as AdamW names it; borrowed. */
  moments(): ReadonlyMap<string, Tensor> {
    return this.optimizer.state();
  }

  /** For writeCheckpoint. */
  files(): [name: string, write: (path: string) => void][] {
    return [
      [this.file('model'), (path) => saveSafetensors(path, this.model.state)],
      ...this.averages.map(({ file, state }): [string, (path: string) => void] => [
        file,
        (path) => saveSafetensors(path, state),
      ]),
      [this.file('optimizer'), (path) => saveSafetensors(path, this.moments())],
    ];
  }

  /** Puts a checkpoint's tensors in place. */
  restore(checkpoint: string): void {
    const from = (file: string, load: (tensors: Map<string, Tensor>, where: string) => void): void => {
      const path = join(checkpoint, file);
      scope(() => load(readTensors(path), path));
    };
    from(this.file('model'), (tensors, where) => loadInto(this.model, tensors, where));
    for (const { file, state } of this.averages) from(file, (tensors, where) => loadInto({ state }, tensors, where));
    from(this.file('optimizer'), (tensors, where) => this.optimizer.load(tensors, where));
  }

  /** Frees what is not the task's. */
  dispose(): void {
    this.reducer?.dispose();
    this.optimizer.dispose();
    for (const { state } of this.averages.slice(1)) for (const tensor of state.values()) tensor.dispose();
  }

  /** The first average is the task's module, further ones start as copies of it. */
  private average(module: Module, settings: Average['settings'], index: number): Average {
    const copy = (tensor: Tensor): Tensor => noGrad(() => scope(() => keep(tensor.clone())));
    const state = index === 0 ? module.state : new Map([...module.state].map(([name, tensor]) => [name, copy(tensor)]));
    const file = this.file(index === 0 ? 'ema' : `ema-${settings.decay}`);
    return { state, ema: new Ema(state, this.model), settings, file };
  }

  private file(what: string): string {
    const stem = this.name === undefined ? what : what === 'model' ? this.name : `${this.name}-${what}`;
    return `${stem}.safetensors`;
  }
}

/** The main network first, then the task's parts. */
export function networksOf(
  task: TrainingTask,
  config: TrainingConfig,
  ranks: Ranks = new Ranks(),
): [TrainedNetwork, ...TrainedNetwork[]] {
  const { model, ema, parts = [] } = task;
  return [
    new TrainedNetwork({ name: undefined, model, ema }, config, ranks),
    ...parts.map((part) => new TrainedNetwork(part, config, ranks)),
  ];
}
