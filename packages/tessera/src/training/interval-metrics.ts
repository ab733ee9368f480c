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
    const means = Object.fromEntries(
      [...this.sums].map(([name, sum]) => [name, (sum.numbers + (sum.tensors?.item() ?? sum.carried)) / sum.count]),
    );
    this.dispose();
    return means;
  }

  dispose(): void {
    for (const sum of this.sums.values()) sum.tensors?.dispose();
    this.sums.clear();
  }
}
