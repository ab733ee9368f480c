import { memoryStats, scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { HalfBlock } from './half-block.test-support.ts';
import { initialise } from './module.ts';
import { Recompute } from './recompute.ts';

/** The loss's value and the weight's gradient after `loss · scale` has gone back, not yet divided by the scale. */
function walked(factor: number, lossScale: number | undefined): { loss: number; gradient: number[] } {
  const network = initialise((p) => new HalfBlock(p)).trainable();
  try {
    return scope(() => {
      const again = new Recompute();
      const output = again.run(network.block, tensor([1, 3]));
      const loss = again.lossWithGradient(network, output.mul(factor).sum(), lossScale);
      loss.mul(lossScale ?? 1).backward();
      return { loss: loss.item(), gradient: network.weight.grad!.toNumbers() };
    });
  } finally {
    network.dispose();
  }
}

const SMALL = 2 ** -30; // below float16's smallest number, 2^-24

test('a scaled loss keeps gradients on their way back that float16 would lose', () => {
  const before = memoryStats().liveTensors;
  expect(walked(SMALL, undefined).gradient).toEqual([0, 0]);
  expect(walked(SMALL, 65536)).toEqual({ loss: 4 * SMALL, gradient: [2 ** -14, 3 * 2 ** -14] });
  expect(memoryStats().liveTensors).toBe(before);
});

test('the scale is no part of the gradient behind the loss', () => {
  expect(walked(0.5, 1)).toEqual(walked(0.5, undefined));
  expect(walked(0.5, 1024)).toEqual({ loss: 2, gradient: [512, 1536] });
});

test('an overflow shows in the gradient, and leaves the value of the loss alone', () => {
  const { loss, gradient } = walked(2, 65536);
  expect(loss).toBe(8);
  expect(gradient.every(Number.isFinite)).toBe(false);
});
