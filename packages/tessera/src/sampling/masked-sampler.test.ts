import { scope, type Tensor, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { allMasked, type MaskedTokens, maskedStep, partlyMasked } from './masked-sampler.ts';

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
    const { sampled, next } = maskedStep(state, { cond: logits }, settings, { exponential: ones, gumbel }, MASK);
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
    const { sampled } = maskedStep(allMasked(1, 1, MASK), { cond: logits }, settings, { exponential: noise }, MASK);
    expect(sampled.toNumbers()).toEqual([2]);
  });
});

test('a fixed order masks the highest ranks again, whatever the confidence', () => {
  scope(() => {
    const logits = tensor([[[9], [0], [5], [3]].map(([x]) => [x!, 0, 0])]);
    const noise = { exponential: logits.onesLike(), ranks: tensor([3, 0, 1, 2]) };
    const settings = { sampleTemperature: 1, choiceTemperature: 1, remaskCount: 2 };
    const { next } = maskedStep(allMasked(1, 4, MASK), { cond: logits }, settings, noise, MASK);
    expect(next.masked!.toNumbers()).toEqual([0, 3]);
    expect(next.fresh!.toNumbers()).toEqual([1, 2]);
  });
});

test('known tokens stay; the rest is masked', () => {
  scope(() => {
    const mask = tensor([
      [0, 1, 1, 0],
      [1, 0, 0, 1],
    ]).to('bool');
    const tokens = tensor([0, 1, 2, 0, 1, 2, 0, 1], 'int64').view([2, 4]);
    const state = partlyMasked(tokens, mask, 2, MASK);
    expect(state.tokens.toNumbers()).toEqual([0, MASK, MASK, 0, MASK, 2, 0, MASK]);
    expect(state.masked!.toNumbers()).toEqual([1, 2, 0, 3]);
    expect(state.fresh!.toNumbers()).toEqual([0, 3, 1, 2]);
  });
});

/** Confidences of six tokens in two samples: log-probabilities of code 0 in two-code logits. */
function tied(remask: 'sort' | 'threshold', first: MaskedTokens, margins: readonly number[][], remaskCount: number) {
  const logits = tensor(margins.map((row) => row.map((margin) => [margin, 0])));
  const settings = { sampleTemperature: 1, choiceTemperature: 0, remaskCount, remask };
  const noise = { exponential: logits.onesLike(), gumbel: tensor(margins, 'float64').zerosLike() };
  return maskedStep(first, { cond: logits }, settings, noise, 2).next;
}

test('threshold masks all ties at the cut, sort exactly as many as asked; ragged rows go on right', () => {
  scope(() => {
    const margins = [
      [1, 2, 2, 2, 5, 6],
      [9, 1, 3, 2, 8, 7],
    ];
    const bySort = tied('sort', allMasked(2, 6, 2), margins, 2);
    expect(bySort.masked!.toNumbers()).toEqual([0, 1, 1, 3]);
    const byThreshold = tied('threshold', allMasked(2, 6, 2), margins, 2);
    expect(byThreshold.firstCount).toBe(4);
    expect(byThreshold.tokens.toNumbers()).toEqual([2, 2, 2, 2, 0, 0, 0, 2, 0, 2, 0, 0]);
    // The second sample has two mask tokens; its row is filled with its next least confident ones, 2 and 5.
    expect(byThreshold.masked!.toNumbers()).toEqual([0, 1, 2, 3, 1, 2, 3, 5]);
    expect(byThreshold.real!.toNumbers()).toEqual([1, 1, 1, 1, 1, 0, 1, 0]);
    // The next step draws code 1 everywhere: filled-in tokens keep theirs.
    const after = tied(
      'threshold',
      byThreshold,
      [
        [-4, -3, -2, -1],
        [-1, -9, -2, -9],
      ],
      1,
    );
    expect(after.tokens.toNumbers()).toEqual([1, 1, 1, 2, 0, 0, 0, 2, 0, 1, 0, 0]);
    expect(after.masked!.toNumbers()).toEqual([3, 1]);
    expect(after.real).toBeUndefined();
  });
});

test('ties that are only reported are broken by position, and said', () => {
  scope(() => {
    const run = (margins: readonly number[][]) => {
      const logits = tensor(margins.map((row) => row.map((margin) => [margin, 0])));
      const settings = {
        sampleTemperature: 1,
        choiceTemperature: 0,
        remaskCount: 2,
        remask: 'threshold' as const,
        ties: 'report' as const,
      };
      const noise = { exponential: logits.onesLike(), gumbel: tensor(margins, 'float64').zerosLike() };
      return maskedStep(allMasked(margins.length, 4, 2), { cond: logits }, settings, noise, 2);
    };
    const tied = run([
      [1, 2, 2, 3],
      [4, 3, 2, 1],
    ]);
    expect([tied.tied!.item(), tied.next.masked!.toNumbers()]).toEqual([1, [0, 1, 2, 3]]);
    expect(run([[1, 2, 3, 4]]).tied!.item()).toBe(0);
  });
});
