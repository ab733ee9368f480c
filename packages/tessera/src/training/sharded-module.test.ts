// What needs no second process; how pieces train on several ranks is in test/sharded-training.test.ts.

import { type ProcessGroup, scope, type Tensor, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { HalfBlock } from '../nn/half-block.test-support.ts';
import { initialise } from '../nn/module.ts';
import { ShardedModule } from './sharded-module.ts';

/** Nobody to gather from or to scatter to. */
const ALONE = {
  rank: 0,
  size: 1,
  startAllGather: (piece: Tensor, { into }: { into: Tensor }) => ({ wait: () => into.view([-1]).copy_(piece) }),
  startReduceScatter: (whole: Tensor, { into }: { into: Tensor }) => ({ wait: () => into.copy_(whole) }),
} as unknown as ProcessGroup;

/** The loss's value and the piece's gradient after `loss · scale` has gone back, not yet divided by the scale. */
function trained(factor: number, lossScale: number | undefined): { loss: number; gradient: number[] } {
  const network = initialise((p) => new HalfBlock(p));
  const pieces = ShardedModule.cut(network, ALONE, () => 0);
  pieces.trainable();
  try {
    return scope(() => {
      const lossOf = (run: Parameters<Parameters<ShardedModule['trainingLoss']>[1]>[0]) => {
        return {
          loss: run(network.block, tensor([1, 3]))
            .mul(factor)
            .sum(),
          metrics: {},
        };
      };
      const { loss } = pieces.trainingLoss(undefined, lossOf, lossScale);
      loss.mul(lossScale ?? 1).backward();
      return { loss: loss.item(), gradient: pieces.parameters.get('weight')!.grad!.toNumbers() };
    });
  } finally {
    pieces.leaveModule();
    network.dispose();
  }
}

test('the backward pass of pieces runs on the scaled loss, their gradient is that of the loss', () => {
  const small = 2 ** -30; // below float16's smallest number, 2^-24
  expect(trained(small, undefined).gradient).toEqual([0, 0]);
  expect(trained(small, 65536)).toEqual({ loss: 4 * small, gradient: [2 ** -14, 3 * 2 ** -14] });
  expect(trained(0.5, undefined)).toEqual({ loss: 2, gradient: [0.5, 1.5] });
});

test('an overflow shows in the gradient of a piece, and leaves the value of the loss alone', () => {
  const { loss, gradient } = trained(2, 65536);
  expect(loss).toBe(8);
  expect(gradient.every(Number.isFinite)).toBe(false);
});
