/**
 * Means of scalars over a logging interval. Tensors are summed where they are, in float64, and read only at its end, so
 * that a GPU is not waited for at each step. The sums go into checkpoints: an interval that a resume cuts in two has the
 * same mean, bit for bit.
 */

import { full, keep, noGrad, scope, type Tensor } from '@tessera/torch';

/** [how many values, sum of those given as numbers, sum of those given as tensors]. */
export type IntervalState = Record<string, [count: number, numbers: number, tensors: number]>;

interface Sum {
  count: number;
  numbers: number;
  /** From before a resume: where the sum of tensors starts. */
  carried: number;
  tensors: Tensor | undefined; // [] float64
}

export class IntervalMetrics {
  private readonly sums = new Map<string, Sum>();

  constructor(state: IntervalState = {}) {
    for (const [name, [count, numbers, tensors]] of Object.entries(state)) {
      this.sums.set(name, { count, numbers, carried: tensors, tensors: undefined });
    }
  }

  /** value — a number, or a scalar tensor that may be freed afterwards. */
  add(name: string, value: Tensor | number): void {
    let sum = this.sums.get(name);
    if (sum === undefined) {
      sum = { count: 0, numbers: 0, carried: 0, tensors: undefined };
      this.sums.set(name, sum);
    }
    sum.count += 1;
    if (typeof value === 'number') {
      sum.numbers += value;
      return;
    }
    sum.tensors ??= keep(full([], sum.carried, { dtype: 'float64', device: value.device }));
    const { tensors } = sum;
    noGrad(() =>
      scope(() => {
        tensors.add_(value.detach());
      }),
    );
  }

  state(): IntervalState {
    return Object.fromEntries(
      [...this.sums].map(([name, sum]) => [name, [sum.count, sum.numbers, sum.tensors?.item() ?? sum.carried]]),
    );
  }

  /** The means since the last call, in order of first appearance; starts a new interval. */
  take(): Record<string, number> {
    const means = meansOf(this.state());
    this.dispose();
    return means;
  }

  dispose(): void {
    for (const sum of this.sums.values()) sum.tensors?.dispose();
    this.sums.clear();
  }
}

/** The means of an interval. */
export function meansOf(state: IntervalState): Record<string, number> {
  return Object.fromEntries(
    Object.entries(state).map(([name, [count, numbers, tensors]]) => [name, (numbers + tensors) / count]),
  );
}

/** The interval of all ranks; JSON between them has turned NaN into null. */
export function mergeIntervals(states: readonly IntervalState[]): IntervalState {
  const merged: IntervalState = {};
  for (const state of states) {
    for (const [name, values] of Object.entries(state)) {
      const [count, numbers, tensors] = merged[name] ?? [0, 0, 0];
      const [more, ...sums] = values.map((value) => value ?? Number.NaN) as [number, number, number];
      merged[name] = [count + more, numbers + sums[0], tensors + sums[1]];
    }
  }
  return merged;
}
