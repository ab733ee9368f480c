/**
 * Modules and their parameters (design rule 9). A module is a class; its tensors are an ordered map from official name
 * to Tensor, and that order is the checkpoint's and the optimizer's. A module never makes a tensor itself: its
 * constructor asks a ParameterBuilder for each by name, shape and initialisation, so one constructor serves random
 * initialisation and strict loading alike.
 */

import { type Device, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { networkDevice } from './device.ts';
import { type Initialisation, initialTensor } from './initialisation.ts';

/** Where tensors come from: freshly drawn, or a checkpoint. The tensor is owned by the module. */
export interface ParameterSource {
  take(name: string, shape: readonly number[], initialisation: Initialisation): Tensor;
}

/** A layer that can multiply with weights of a byte instead of its own. */
export interface Quantizable {
  /** False where this machine's libtorch cannot; the layer then stays as it is. */
  useInt8(): boolean;
  /** Back to its own weights. */
  dropInt8(): void;
}

export class ParameterBuilder {
  /** Layers by the name in front of their tensors', such as `blocks.3.mlp.fc1`. */
  readonly quantizable: Map<string, Quantizable>;
  /** Every tensor of the module, in order of construction. */
  readonly state: Map<string, Tensor>;
  /** Names in `state` that are not trained. */
  readonly bufferNames: Set<string>;
  /** Those of them that forward passes in training move. */
  readonly statisticNames: Set<string>;
  private readonly source: ParameterSource;
  private readonly prefix: string;

  constructor(source: ParameterSource, parent?: ParameterBuilder, prefix = '') {
    this.source = source;
    this.prefix = prefix;
    this.state = parent?.state ?? new Map();
    this.bufferNames = parent?.bufferNames ?? new Set();
    this.quantizable = parent?.quantizable ?? new Map();
    this.statisticNames = parent?.statisticNames ?? new Set();
  }

  /** A builder whose names start with `name.`; `child('blocks', 3)` gives `blocks.3.`. */
  child(...names: (string | number)[]): ParameterBuilder {
    return new ParameterBuilder(this.source, this, `${this.prefix}${names.join('.')}.`);
  }

  parameter(name: string, shape: readonly number[], initialisation: Initialisation): Tensor {
    const full = this.prefix + name;
    const tensor = this.source.take(full, shape, initialisation);
    this.state.set(full, tensor);
    return tensor;
  }

  /** Tells the module of a layer that has a form in int8. */
  register(layer: Quantizable): void {
    this.quantizable.set(this.prefix.replace(/\.$/, ''), layer);
  }

  /** A tensor that is saved but not trained. */
  buffer(name: string, shape: readonly number[], initialisation: Initialisation): Tensor {
    this.bufferNames.add(this.prefix + name);
    return this.parameter(name, shape, initialisation);
  }

  /** A buffer that a forward pass in training moves by its batch, such as a running mean. */
  statistic(name: string, shape: readonly number[], initialisation: Initialisation): Tensor {
    this.statisticNames.add(this.prefix + name);
    return this.buffer(name, shape, initialisation);
  }
}

/** The base of every network: its tensors by official name. */
export abstract class Module {
  /** All tensors, buffers included, in checkpoint order. */
  readonly state: ReadonlyMap<string, Tensor>;
  private readonly builder: ParameterBuilder;
  private trained: ReadonlyMap<string, Tensor> | undefined;

  constructor(builder: ParameterBuilder) {
    this.builder = builder;
    this.state = builder.state;
  }

  /** The trained ones, in optimizer order. */
  get parameters(): ReadonlyMap<string, Tensor> {
    // Not in the constructor: subclasses fill the builder after it.
    this.trained ??= new Map([...this.state].filter(([name]) => !this.builder.bufferNames.has(name)));
    return this.trained;
  }

  /** The buffers that forward passes in training move. */
  get statistics(): Tensor[] {
    return [...this.builder.statisticNames].map((name) => this.state.get(name)!);
  }

  /** Where its tensors are, and its inputs belong. */
  get device(): Device {
    for (const tensor of this.state.values()) return tensor.device;
    return 'cpu';
  }

  get numParameters(): number {
    let count = 0;
    for (const tensor of this.parameters.values()) count += tensor.numel;
    return count;
  }

  /** Turns gradients on or off for all parameters. Returns itself. */
  trainable(flag = true): this {
    for (const tensor of this.parameters.values()) tensor.requiresGrad_(flag);
    return this;
  }

  clearGradients(): void {
    for (const tensor of this.parameters.values()) tensor.grad = undefined;
  }

  /**
   * Layers of these names multiply in int8 from now on, for inference: later changes of their weights have no effect.
   * False where this machine's libtorch cannot.
   */
  protected quantizeLayers(names: RegExp): boolean {
    const chosen = [...this.builder.quantizable].filter(([name]) => names.test(name));
    return chosen.map(([, layer]) => layer.useInt8()).every((done) => done);
  }

  /** What lives as long as this module, such as its CUDA graphs. */
  readonly companions = new Set<{ dispose(): void }>();

  /** Where what they hold of this module is no longer so. */
  protected dropCompanions(): void {
    for (const companion of this.companions) companion.dispose();
    this.companions.clear();
  }

  /** Frees every tensor; the module cannot be used afterwards. */
  dispose(): void {
    this.dropCompanions();
    for (const layer of this.builder.quantizable.values()) layer.dropInt8();
    for (const tensor of this.state.values()) tensor.dispose();
  }

  /** Copies the values of another module of the same shape into this one. */
  copyFrom(other: Module): void {
    noGrad(() =>
      scope(() => {
        for (const [name, tensor] of this.state) tensor.copy_(other.state.get(name)!);
      }),
    );
  }
}

/** What training moves of a network: a Module, or the share of one that a rank keeps. */
export interface Trainable extends Pick<Module, 'state' | 'parameters' | 'statistics' | 'clearGradients'> {
  /** See Module.trainable. */
  trainable(flag?: boolean): unknown;
}

/**
 * Random initialisation from libtorch's generator (seed it first with manualSeed): drawn on the CPU, so that a seed gives
 * the same weights on every device.
 */
export function freshParameters(): ParameterSource {
  const device = networkDevice();
  return {
    take: (_name, shape, initialisation) =>
      scope(() => keep(noGrad(() => initialTensor(shape, initialisation).to(device)))),
  };
}

/** Constructs a module with random values. */
export function initialise<M extends Module>(construct: (builder: ParameterBuilder) => M): M {
  return construct(new ParameterBuilder(freshParameters()));
}
