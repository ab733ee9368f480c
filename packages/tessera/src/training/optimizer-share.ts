/**
 * ZeRO stage 1 (Rajbhandari et al., SC 2020, "ZeRO: memory optimizations toward training trillion parameter models",
 * section 5.1; PyTorch's ZeroRedundancyOptimizer): every rank has all weights and all gradients, but the moments of its
 * own tensors alone. It moves those, and sends them to the others. Whole tensors are dealt out, so each is moved by the
 * same call as without sharding and comes out in the same bits.
 */

import { noGrad, scope, type Tensor } from '@tessera/torch';
import type { Trainable } from '../nn/module.ts';
import type { Ranks } from './ranks.ts';

export class OptimizerShare {
  private readonly model: Trainable;
  private readonly ranks: Ranks;
  private readonly owners: ReadonlyMap<string, number>;

  constructor(model: Trainable, ranks: Ranks) {
    this.model = model;
    this.ranks = ranks;
    this.owners = dealOut(new Map([...model.state].map(([name, tensor]) => [name, tensor.numel])), ranks.size);
  }

  isOwn(name: string): boolean {
    return this.owners.get(name) === this.ranks.rank;
  }

  /** Of tensors by name, those that are this rank's. */
  own(tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
    return new Map([...tensors].filter(([name]) => this.isOwn(name)));
  }

  /** After a step: every rank gets the weights that have moved, from who has moved them. */
  exchange(): void {
    const { group } = this.ranks;
    if (group === undefined) return;
    noGrad(() =>
      scope(() => {
        // Gradients are the same on all ranks, and so is who has one.
        const moved = [...this.model.parameters].filter(([, parameter]) => parameter.grad !== undefined);
        const works = moved.map(([name, parameter]) => group.startBroadcast(parameter, this.owners.get(name)!));
        for (const work of works) work.wait();
      }),
    );
  }
}

/** An owner for each name, so that all own about the same: the largest first, each to who has the least so far. */
export function dealOut(sizes: ReadonlyMap<string, number>, count: number): Map<string, number> {
  const loads = new Array<number>(count).fill(0);
  const owners = new Map<string, number>();
  for (const [name, size] of [...sizes].sort((a, b) => b[1] - a[1])) {
    const least = loads.indexOf(Math.min(...loads));
    loads[least]! += size;
    owners.set(name, least);
  }
  return owners;
}
