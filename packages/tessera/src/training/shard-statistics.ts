/**
 * Running statistics, such as BatchNorm's, in a step of several shards: every shard starts from the step's own, and
 * afterwards they have moved by the mean of what each shard would have done. So they do not depend on the order of the
 * shards, nor on which rank ran which (design rule 4). In a step of one shard they are what the forward pass made of them.
 */

import { noGrad, scope, type Tensor } from '@tessera/torch';
import type { Ranks } from './ranks.ts';

export class ShardStatistics {
  private readonly now: readonly Tensor[];
  private readonly before: readonly Tensor[];
  private readonly changes: readonly Tensor[];

  /** Its tensors belong to the scope around it. */
  constructor(statistics: readonly Tensor[]) {
    this.now = statistics;
    this.before = noGrad(() => statistics.map((tensor) => tensor.clone()));
    this.changes = noGrad(() => statistics.map((tensor) => tensor.zerosLike()));
  }

  /** After the losses of a shard. */
  afterShard(): void {
    noGrad(() =>
      scope(() => {
        for (const [i, tensor] of this.now.entries()) {
          this.changes[i]!.add_(tensor.sub(this.before[i]!));
          tensor.copy_(this.before[i]!);
        }
      }),
    );
  }

  finish(ranks: Ranks, numShards: number): void {
    noGrad(() =>
      scope(() => {
        for (const [i, tensor] of this.now.entries()) tensor.add_(ranks.addUp(this.changes[i]!).div(numShards));
      }),
    );
  }
}
