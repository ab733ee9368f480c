import { scope, type Tensor, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { allMasked, guide, maskedStep } from './masked-sampler.ts';

const MASK = 3;

/** One image of four tokens over three codes; code k is likely at position k, ever less so. */
function step(remaskCount: number, choiceTemperature = 0): { sampled: number[]; masked?: number[]; fresh?: number[] } {
  return scope(() => {
    const state = allMasked(1, 4, MASK);
    const logits = tensor([
      [
        [9, 0, 0],
        [0, 7, 0],
        [0, 0, 5],
        [3, 0, 0],
      ],
    ]);
    const ones = logits.onesLike();
    const gumbel = tensor([[0, 0, 0, 100]], 'float64');
    const settings = { sampleTemperature: 1, choiceTemperature, remaskCount };
    const { sampled, next } = maskedStep(state, logits, settings, ones, gumbel, MASK);
    const list = (x: Tensor | undefined): number[] | undefined => x?.toNumbers();
    const result: { sampled: number[]; masked?: number[]; fresh?: number[] } = { sampled: sampled.toNumbers() };
    const [masked, fresh] = [list(next.masked), list(next.fresh)];
    if (masked !== undefined) result.masked = masked;
    if (fresh !== undefined) result.fresh = fresh;
    return result;
  });
}

test('equal noise draws the most likely codes, and the least confident are masked again', () => {
  expect(step(2)).toEqual({ sampled: [0, 1, 2, 0], masked: [2, 3], fresh: [0, 1] });
});

test('noise on the choice can keep an unlikely token', () => {
  expect(step(2, 1)).toEqual({ sampled: [0, 1, 2, 0], masked: [1, 2], fresh: [0, 3] });
});

test('the last step fixes everything; a step may fix nothing', () => {
  expect(step(0)).toEqual({ sampled: [0, 1, 2, 0], fresh: [0, 1, 2, 3] });
  expect(step(4)).toEqual({ sampled: [0, 1, 2, 0], masked: [0, 1, 2, 3] });
});

test('a code with small exponential noise wins: argmax of p / e', () => {
  scope(() => {
    const logits = tensor([[[0, 0, 0]]]);
    const noise = tensor([[[1, 1, 0.01]]]);
    const settings = { sampleTemperature: 1, choiceTemperature: 0, remaskCount: 0 };
    const { sampled } = maskedStep(allMasked(1, 1, MASK), logits, settings, noise, tensor([[0]], 'float64'), MASK);
    expect(sampled.toNumbers()).toEqual([2]);
  });
});

test('guidance 1 is the conditional prediction, 0 the unconditional one', () => {
  scope(() => {
    const [cond, uncond] = [tensor([2, -1]), tensor([1, 1])];
    expect(guide(cond, uncond, 1).toNumbers()).toEqual([2, -1]);
    expect(guide(cond, uncond, 0).toNumbers()).toEqual([1, 1]);
    expect(guide(cond, uncond, 3).toNumbers()).toEqual([4, -5]);
  });
});
