/**
 * AdamW (Loshchilov and Hutter, ICLR 2019) over parameter groups, one fused libtorch call a group. What it does to a
 * parameter is what torch.optim.AdamW(fused=True) does, down to the lazily made moments: a parameter that has no
 * gradient in a step is left alone entirely, without decay and without counting the step.
 *
 * State is named `<parameter>.exp_avg`, `<parameter>.exp_avg_sq` and `<parameter>.step`, in parameter order, which is
 * the index order of an official optimizer.pth: entry i of its `state` belongs to parameter i.
 */

import { foreachAdd_, full, fusedAdamw_, keep, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import { StateDictError } from './state-dict.ts';

export interface AdamWOptions {
  /** Decay rates of the two moments, each in [0, 1). */
  betas?: readonly [number, number];
  eps?: number;
  /** For parameters that no group claims. */
  weightDecay?: number;
  /** The first group whose predicate holds takes the parameter. */
  groups?: readonly ParameterGroup[];
}

export interface ParameterGroup {
  matches(name: string, parameter: Tensor): boolean;
  weightDecay?: number;
}

interface Moments {
  expAvg: Tensor; // like the parameter
  expAvgSq: Tensor; // like the parameter
  step: Tensor; // [] float32
}

interface Slot {
  readonly name: string;
  readonly parameter: Tensor;
  moments: Moments | undefined;
}

interface Group {
  readonly slots: Slot[];
  readonly weightDecay: number;
}

export class AdamW {
  private readonly betas: readonly [number, number];
  private readonly eps: number;
  private readonly groups: Group[];
  /** Every parameter, in the order given. */
  private readonly slots: Slot[];
  private readonly ones = new Map<string, Tensor>();

  /** parameters — by name, in checkpoint order; borrowed, not owned. */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions = {}) {
    this.betas = options.betas ?? [0.9, 0.999];
    this.eps = options.eps ?? 1e-8;
    const weightDecay = options.weightDecay ?? 0;
    const rules = [...(options.groups ?? []), { matches: () => true }];
    this.groups = rules.map((rule) => ({
      slots: [],
      weightDecay: rule.weightDecay ?? weightDecay,
    }));
    this.slots = [];
    for (const [name, parameter] of parameters) {
      const slot = { name, parameter, moments: undefined };
      this.slots.push(slot);
      this.groups[rules.findIndex((rule) => rule.matches(name, parameter))]!.slots.push(slot);
    }
  }

  /** Updates every parameter that has a gradient. The gradients stay. */
  step(learningRate: number): void {
    noGrad(() =>
      scope(() => {
        for (const group of this.groups) this.stepGroup(group, learningRate);
      }),
    );
  }

  /** The moments that exist so far, by name; borrowed. */
  state(): Map<string, Tensor> {
    const named = new Map<string, Tensor>();
    for (const { name, moments } of this.slots) {
      if (moments === undefined) continue;
      named.set(`${name}.exp_avg`, moments.expAvg);
      named.set(`${name}.exp_avg_sq`, moments.expAvgSq);
      named.set(`${name}.step`, moments.step);
    }
    return named;
  }

  /**
   * Replaces the state by copies of named tensors; parameters without any start anew.
   *
   * @param where names the source in errors, such as a file name
   */
  load(tensors: ReadonlyMap<string, Tensor>, where: string): void {
    const unknown = new Set(tensors.keys());
    const problems: string[] = [];
    const loads: { slot: Slot; found: Tensor[] }[] = [];
    for (const slot of this.slots) {
      const keys = [`${slot.name}.exp_avg`, `${slot.name}.exp_avg_sq`, `${slot.name}.step`];
      const found = keys.flatMap((key) => tensors.get(key) ?? []);
      for (const key of keys) unknown.delete(key);
      if (found.length !== 0 && found.length !== 3) problems.push(`${slot.name}: ${found.length} of 3 tensors`);
      const shape = slot.parameter.shape.join(', ');
      for (const moment of found.slice(0, 2)) {
        if (moment.shape.join(', ') !== shape) {
          problems.push(`${slot.name}: expected [${shape}], got [${moment.shape.join(', ')}]`);
        }
      }
      loads.push({ slot, found });
    }
    for (const key of unknown) problems.push(`${key}: no such parameter`);
    if (problems.length > 0) {
      throw new StateDictError(`${where} does not fit this optimizer: ${problems.slice(0, 6).join('; ')}`);
    }
    noGrad(() =>
      scope(() => {
        for (const { slot, found } of loads) {
          this.forget(slot);
          if (found.length === 0) continue;
          const moments = freshMoments(slot.parameter);
          slot.moments = moments;
          moments.expAvg.copy_(found[0]!);
          moments.expAvgSq.copy_(found[1]!);
          moments.step.copy_(found[2]!.reshape([]));
        }
      }),
    );
  }

  dispose(): void {
    for (const slot of this.slots) this.forget(slot);
    for (const one of this.ones.values()) one.dispose();
    this.ones.clear();
  }

  private stepGroup(group: Group, lr: number): void {
    const parameters: Tensor[] = [];
    const gradients: Tensor[] = [];
    const expAvgs: Tensor[] = [];
    const expAvgSqs: Tensor[] = [];
    const steps: Tensor[] = [];
    for (const slot of group.slots) {
      const gradient = slot.parameter.grad;
      if (gradient === undefined) continue;
      slot.moments ??= freshMoments(slot.parameter);
      parameters.push(slot.parameter);
      gradients.push(gradient);
      expAvgs.push(slot.moments.expAvg);
      expAvgSqs.push(slot.moments.expAvgSq);
      steps.push(slot.moments.step);
    }
    if (parameters.length === 0) return;
    // The fused call expects step counters that already count this step.
    const one = this.oneOn(parameters[0]!.device);
    foreachAdd_(
      steps,
      steps.map(() => one),
    );
    fusedAdamw_(parameters, gradients, expAvgs, expAvgSqs, [], steps, {
      lr,
      beta1: this.betas[0],
      beta2: this.betas[1],
      weightDecay: group.weightDecay,
      eps: this.eps,
    });
  }

  private oneOn(device: string): Tensor {
    let one = this.ones.get(device);
    if (one === undefined) {
      one = keep(full([], 1, { device }));
      this.ones.set(device, one);
    }
    return one;
  }

  private forget(slot: Slot): void {
    if (slot.moments === undefined) return;
    for (const tensor of Object.values(slot.moments)) (tensor as Tensor).dispose();
    slot.moments = undefined;
  }
}

function freshMoments(parameter: Tensor): Moments {
  return {
    expAvg: keep(parameter.zerosLike()),
    expAvgSq: keep(parameter.zerosLike()),
    step: keep(zeros([], { device: parameter.device })),
  };
}
