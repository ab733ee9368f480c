/**
 * A module whose parameters are cut into pieces, one a rank, as PyTorch's fully sharded data parallel does (Zhao et al.,
 * VLDB 2023, "PyTorch FSDP"; ZeRO stage 3). A block's weights are gathered before it runs and freed after it; the backward
 * pass gathers them again, runs the block again, and scatters the sum of its gradients, so that each rank gets those of its
 * pieces. What is in no block (tables, the output) is there for a whole pass. The weights of the next block travel while a
 * block runs, as do the gradients of the one before.
 *
 * A parameter of n numbers is cut in C order into runs of ⌈n / ranks⌉, the last ones padded with zeros; optimizer, norms and
 * averages work on the pieces as on any tensors, since padding has no gradient. Between passes the module's own tensors
 * are placeholders full of NaN: what used them by mistake would be noticed at once.
 *
 * Longer than most files: gathering, running and scattering hold the same pieces.
 */

import {
  empty,
  full,
  keep,
  noGrad,
  type ProcessGroup,
  scope,
  swapTensors,
  type Tensor,
  type Work,
  zeros,
} from '@tessera/torch';
import type { RunBlock } from '../models/family.ts';
import { type Module, ParameterBuilder, type ParameterSource, type Trainable } from '../nn/module.ts';
import { type BlockWeights, lossWithGradients, Recompute } from '../nn/recompute.ts';
import { checkShapes } from '../nn/state-dict.ts';
import { type Piece, type StoredTensors, savePart } from './stored-tensors.ts';

/** A parameter and what this rank has of it. */
interface Slot {
  readonly name: string;
  /** The module's own tensor. */
  readonly tensor: Tensor;
  readonly shape: readonly number[];
  readonly numel: number;
  /** [⌈numel / ranks⌉]. */
  readonly piece: Tensor;
  /** Of the piece, without padding: its place in the parameter, and how many numbers. */
  readonly start: number;
  readonly length: number;
  /** Of the loss under way, averaged over the ranks; like `piece`. */
  gradient: Tensor | undefined;
}

/** What is gathered together: the parameters of a block, or those outside. */
class Unit {
  readonly slots: Slot[] = [];
  /** The whole parameters on their way, or here: [ranks, ⌈numel / ranks⌉] each. */
  coming: { work: Work<Tensor>; gathered: Tensor }[] | undefined;
  /** What stands for the placeholders meanwhile; while it does, these are the placeholders. */
  leaves: Tensor[] | undefined;
}

export interface PiecewiseLoss {
  loss: Tensor;
  metrics: Record<string, Tensor | number>;
}

export class ShardedModule implements Trainable, BlockWeights {
  /** Pieces of the parameters, and whole buffers, by official name. */
  readonly state: ReadonlyMap<string, Tensor>;
  /** Pieces. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly statistics: Tensor[] = [];
  readonly buffers: Tensor[];
  private readonly module: Module;
  private readonly group: ProcessGroup;
  private readonly slots: ReadonlyMap<string, Slot>;
  private readonly blocks: Unit[] = [];
  private readonly outside = new Unit();
  /** Gradients on their way to their ranks. */
  private leaving: { slot: Slot; work: Work<Tensor>; whole: Tensor; piece: Tensor }[] = [];

  private constructor(
    module: Module,
    group: ProcessGroup,
    slots: readonly Slot[],
    blockOf: (parameter: string) => number | undefined,
  ) {
    this.module = module;
    this.group = group;
    this.slots = new Map(slots.map((slot) => [slot.name, slot]));
    for (const slot of slots) {
      const block = blockOf(slot.name);
      if (block === undefined) this.outside.slots.push(slot);
      else {
        while (this.blocks.length <= block) this.blocks.push(new Unit());
        this.blocks[block]!.slots.push(slot);
      }
    }
    this.parameters = new Map(slots.map(({ name, piece }) => [name, piece]));
    this.state = new Map([...module.state].map(([name, tensor]) => [name, this.parameters.get(name) ?? tensor]));
    this.buffers = [...module.state].flatMap(([name, tensor]) => (this.slots.has(name) ? [] : [tensor]));
  }

  /**
   * Cuts a module up, whose parameters must be the same on all ranks. They go parameter by parameter, so that little more
   * than the module itself is ever there. The module is this one's from now on.
   */
  static cut(module: Module, group: ProcessGroup, blockOf: (parameter: string) => number | undefined): ShardedModule {
    const slots = [...module.parameters].map(([name, tensor]) => cutUp(name, tensor, group));
    return new ShardedModule(module, group, slots, blockOf);
  }

  /**
   * Constructs a module and cuts it up as it comes to be, so that no more than one of its parameters is ever whole. All ranks
   * get the first one's values.
   *
   * @param source where the whole parameters come from, the same on all ranks
   */
  static construct(
    construct: (p: ParameterBuilder) => Module,
    source: ParameterSource,
    group: ProcessGroup,
    blockOf: (parameter: string) => number | undefined,
  ): ShardedModule {
    const slots: Slot[] = [];
    const builder = new ParameterBuilder({
      take: (name, shape, initialisation) => {
        const tensor = source.take(name, shape, initialisation);
        noGrad(() => group.broadcast(tensor, 0));
        if (!builder.bufferNames.has(name)) slots.push(cutUp(name, tensor, group));
        return tensor;
      },
    });
    return new ShardedModule(construct(builder), group, slots, blockOf);
  }

  /** Pieces of their own, with the same values, for another module of the same architecture, whose tensors are freed. */
  copyFor(module: Module, blockOf: (parameter: string) => number | undefined): ShardedModule {
    const copy = (tensor: Tensor) => noGrad(() => scope(() => keep(tensor.detach().clone())));
    const replace = (old: Tensor, other: Tensor): void => {
      swapTensors(old, other);
      other.dispose();
    };
    for (const [name, tensor] of module.state) {
      const slot = this.slots.get(name);
      replace(
        tensor,
        slot === undefined ? copy(this.module.state.get(name)!) : placeholderOf(slot.shape, slot.tensor.device),
      );
    }
    const slots = [...this.slots.values()].map((slot): Slot => {
      return { ...slot, tensor: module.state.get(slot.name)!, piece: copy(slot.piece), gradient: undefined };
    });
    return new ShardedModule(module, this.group, slots, blockOf);
  }

  trainable(flag = true): this {
    for (const piece of this.parameters.values()) piece.requiresGrad_(flag);
    return this;
  }

  clearGradients(): void {
    for (const piece of this.parameters.values()) piece.grad = undefined;
  }

  wholeShape(name: string): readonly number[] {
    return this.slots.get(name)!.shape;
  }

  /**
   * A loss with the gradient of the mean of all ranks' losses behind it, for the pieces: all ranks call it, and their losses'
   * values stay their own. Dropout of block i is drawn anew from `dropoutSeed` + 1 + i, as in any run with recomputing.
   *
   * @param lossScale as in Recompute.walkBack; the same on all ranks, and no part of that gradient
   */
  trainingLoss(
    dropoutSeed: number | undefined,
    body: (runBlock: RunBlock) => PiecewiseLoss,
    lossScale = 1,
  ): PiecewiseLoss {
    const again = new Recompute(dropoutSeed, this);
    const { loss, metrics } = this.holding(this.outside, true, () => {
      const result = body(again.run);
      again.walkBack(result.loss, lossScale);
      this.scatterGradients(this.outside);
      return result;
    });
    this.finishScattering();
    const slots = [...this.slots.values()];
    const gradients = slots.flatMap(({ piece, gradient }): [Tensor, Tensor][] =>
      gradient === undefined ? [] : [[piece, gradient]],
    );
    const whole = lossWithGradients(loss, gradients, lossScale);
    for (const slot of slots) {
      slot.gradient?.dispose();
      slot.gradient = undefined;
    }
    return { loss: whole, metrics };
  }

  /** Runs forward passes of the module without gradients; all ranks call it. */
  forward<T>(body: (nextPass: () => RunBlock) => T): T {
    const nextPass = (): RunBlock => {
      let index = 0;
      return (block, ...inputs) => this.during(index++, 'forward', () => scope(() => block(...inputs)));
    };
    return noGrad(() => this.holding(this.outside, false, () => body(nextPass)));
  }

  during<T>(block: number, pass: 'forward' | 'backward', body: () => T): T {
    const unit = this.blocks[block]!;
    const isBackward = pass === 'backward';
    return this.holding(unit, isBackward, () => {
      const next = this.blocks[block + (isBackward ? -1 : 1)];
      if (next !== undefined) this.startGathering(next);
      const result = body();
      if (isBackward) this.scatterGradients(unit);
      return result;
    });
  }

  /** Puts the whole module together on the ranks that want it, for work that is theirs alone; all ranks call it. */
  assemble(isWanted: boolean): void {
    noGrad(() => {
      for (const unit of this.units) {
        this.arrive(unit, false);
        if (!isWanted) this.release(unit);
      }
    });
  }

  /** Undoes assemble. */
  takeApart(): void {
    for (const unit of this.units) this.release(unit);
  }

  /** The module itself; its weights are there while blocks run, and between assemble and takeApart. */
  get whole(): Module {
    return this.module;
  }

  /** Frees all but the module, which stays whole where it has been assembled, and placeholders elsewhere. */
  leaveModule(): void {
    for (const unit of this.units) {
      for (const placeholder of unit.leaves ?? []) placeholder.dispose();
      for (const { gathered } of unit.coming ?? []) gathered.dispose();
      unit.leaves = undefined;
      unit.coming = undefined;
    }
    for (const { piece } of this.slots.values()) piece.dispose();
  }

  /** Reads this rank's pieces of what was stored whole or in any number of parts. `state`: tensors like this one's. */
  restore(state: ReadonlyMap<string, Tensor>, stored: StoredTensors): void {
    const shapes = new Map([...state].map(([name, { shape }]) => [name, this.slots.get(name)?.shape ?? shape]));
    checkShapes(shapes, new Map(stored.names.map((name) => [name, stored.shape(name)])), stored.path);
    noGrad(() =>
      scope(() => {
        for (const [name, tensor] of state) tensor.copy_(this.readPiece(name, name, stored));
      }),
    );
  }

  /** The optimizer's state of this rank's pieces. */
  readMoments(stored: StoredTensors): Map<string, Tensor> {
    return new Map(stored.names.map((key) => [key, this.readPiece(parameterOf(key), key, stored)]));
  }

  /** This rank's part of tensors like its own, or of its optimizer's state; the first rank's has what is whole too. */
  savePart(path: string, tensors: ReadonlyMap<string, Tensor>): void {
    const pieces = new Map<string, Piece>();
    scope(() => {
      const items = [...tensors].flatMap(([key, tensor]): [string, Tensor][] => {
        const slot = this.slots.get(parameterOf(key));
        if (slot === undefined || key.endsWith('.step')) return this.group.rank === 0 ? [[key, tensor]] : [];
        if (slot.length === 0) return [];
        pieces.set(key, { shape: slot.shape, start: slot.start });
        return [[key, tensor.detach().narrow(0, 0, slot.length)]];
      });
      savePart(path, items, pieces);
    });
  }

  private get units(): Unit[] {
    return [this.outside, ...this.blocks];
  }

  private readPiece(name: string, key: string, stored: StoredTensors): Tensor {
    const slot = this.slots.get(name);
    if (slot === undefined || key.endsWith('.step')) return stored.read(key);
    return padded(stored.readRun(key, slot.start, slot.length), slot.piece.numel);
  }

  private holding<T>(unit: Unit, wantsGradient: boolean, body: () => T): T {
    this.arrive(unit, wantsGradient);
    try {
      return body();
    } finally {
      this.release(unit);
    }
  }

  private startGathering(unit: Unit): void {
    unit.coming ??= noGrad(() =>
      unit.slots.map(({ piece }) => {
        const gathered = keep(empty([this.group.size, piece.numel], { device: piece.device as 'cpu' }));
        return { gathered, work: this.group.startAllGather(piece, { into: gathered }) };
      }),
    );
  }

  /** Puts the whole parameters in the placeholders' place. */
  private arrive(unit: Unit, wantsGradient: boolean): void {
    if (unit.leaves !== undefined) return;
    this.startGathering(unit);
    unit.leaves = unit.slots.map(({ tensor, numel, shape }, i) => {
      const { work, gathered } = unit.coming![i]!;
      work.wait();
      const leaf = noGrad(() => scope(() => keep(gathered.flatten().narrow(0, 0, numel).reshape(shape).detach())));
      if (wantsGradient) leaf.requiresGrad_();
      swapTensors(tensor, leaf);
      return leaf;
    });
  }

  private release(unit: Unit): void {
    if (unit.leaves === undefined && unit.coming === undefined) return;
    for (const [i, leaf] of (unit.leaves ?? []).entries()) {
      swapTensors(unit.slots[i]!.tensor, leaf);
      leaf.dispose();
    }
    for (const { work, gathered } of unit.coming ?? []) {
      work.wait();
      gathered.dispose();
    }
    unit.leaves = undefined;
    unit.coming = undefined;
  }

  /** Sends the gradients of a unit that is here to the ranks whose pieces they are for. */
  private scatterGradients(unit: Unit): void {
    // One block's at a time: those before have had a block's time to travel.
    this.finishScattering();
    const { size } = this.group;
    this.leaving = noGrad(() =>
      unit.slots.map((slot) => {
        const whole = scope(() => {
          const { grad } = slot.tensor;
          const flat = grad?.flatten() ?? zeros([slot.numel], { device: slot.piece.device as 'cpu' });
          return keep(padded(flat, slot.piece.numel * size));
        });
        slot.tensor.grad = undefined;
        const piece = keep(slot.piece.emptyLike());
        return { slot, whole, piece, work: this.group.startReduceScatter(whole, { reduction: 'avg', into: piece }) };
      }),
    );
  }

  private finishScattering(): void {
    for (const { slot, work, whole, piece } of this.leaving) {
      work.wait();
      whole.dispose();
      slot.gradient = piece;
    }
    this.leaving = [];
  }
}

/** Of the optimizer's state by name. */
export function parameterOf(key: string): string {
  return key.replace(/\.(exp_avg|exp_avg_sq|step)$/, '');
}

/** Leaves a placeholder where a parameter was. */
function cutUp(name: string, tensor: Tensor, group: ProcessGroup): Slot {
  const { shape, numel, device } = tensor;
  const [start, length, chunk] = run(numel, group);
  const own = () => padded(tensor.detach().flatten().narrow(0, start, length).clone(), chunk);
  const piece = noGrad(() => scope(() => keep(own())));
  const placeholder = placeholderOf(shape, device);
  swapTensors(tensor, placeholder);
  placeholder.dispose(); // which is the whole parameter now
  return { name, tensor, shape, numel, piece, start, length, gradient: undefined };
}

/** This rank's run of a parameter's numbers: where it starts, how many there are, and how many with padding. */
function run(numel: number, { rank, size }: ProcessGroup): [start: number, length: number, chunk: number] {
  const chunk = Math.ceil(numel / size);
  const start = Math.min(numel, rank * chunk);
  return [start, Math.min(chunk, numel - start), chunk];
}

/** A contiguous vector with zeros behind, up to a length. */
function padded(vector: Tensor, length: number): Tensor {
  const { numel } = vector;
  if (numel === length) return vector.contiguous();
  const longer = zeros([length], { dtype: vector.dtype, device: vector.device });
  longer.narrow(0, 0, numel).copy_(vector);
  return longer;
}

/** For constructing a module that copyFor fills: tensors of all shapes and no memory to speak of. */
export function placeholderParameters(): ParameterSource {
  return { take: (_name, shape) => placeholderOf(shape, 'cpu') };
}

function placeholderOf(shape: readonly number[], device: string): Tensor {
  return noGrad(() => scope(() => keep(full([], Number.NaN, { device }).expand(shape))));
}
