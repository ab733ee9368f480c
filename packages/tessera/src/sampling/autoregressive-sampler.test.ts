import { autoregressiveSettings } from '@tessera/schedule';
import { scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { filterLogits, guideLogits, isTokenGuided, pickTokens } from './autoregressive-sampler.ts';

const kept = (logits: number[][], settings: object): number[][] =>
  scope(() => {
    const rows = filterLogits(tensor(logits), autoregressiveSettings(settings));
    const flat = rows.toNumbers();
    const width = logits[0]!.length;
    return logits.map((_, row) => flat.slice(row * width, (row + 1) * width).flatMap((x, i) => (x > -1e30 ? [i] : [])));
  });

test('top-k keeps ties at its edge, and everything from V on', () => {
  expect(kept([[3, 1, 2, 2, 0]], { topK: 2 })).toEqual([[0, 2, 3]]);
  expect(kept([[3, 1, 2, 2, 0]], { topK: 5 })).toEqual([[0, 1, 2, 3, 4]]);
  expect(kept([[3, 1, 2, 2, 0]], { topK: 0 })).toEqual([[0, 1, 2, 3, 4]]);
});

test('top-p keeps the code that crosses it, and at least one', () => {
  const logits = [[0.5, 0.3, 0.15, 0.05].map(Math.log)];
  expect(kept(logits, { topP: 0.6 })).toEqual([[0, 1]]);
  expect(kept(logits, { topP: 0.49 })).toEqual([[0]]);
  expect(kept(logits, { topP: 0 })).toEqual([[0]]);
  expect(kept(logits, { topP: 0.97 })).toEqual([[0, 1, 2, 3]]);
});

test('a draw is the largest p / e; greedy needs no noise', () => {
  scope(() => {
    const logits = tensor([[0, Math.log(3), Math.log(2)]]);
    const settings = autoregressiveSettings();
    expect(pickTokens(logits, settings, tensor([[0.1, 1, 1]])).toNumbers()).toEqual([0]);
    expect(pickTokens(logits, settings, tensor([[1, 1, 0.6]])).toNumbers()).toEqual([2]);
    expect(pickTokens(logits, autoregressiveSettings({ greedy: true }), undefined).toNumbers()).toEqual([1]);
    expect(() => pickTokens(logits, settings, undefined)).toThrow(/needs noise/);
  });
});

test('guidance is s in uncond + s (cond - uncond), for the first tokens alone where that is asked for', () => {
  scope(() => {
    expect(guideLogits(tensor([[2, 1]]), tensor([[1, 1]]), 3).toNumbers()).toEqual([4, 1]);
  });
  const settings = autoregressiveSettings({ guidanceScale: 2, guidedTokens: 1 });
  expect([0, 1, 2].map((index) => isTokenGuided(settings, index))).toEqual([true, true, false]);
  expect(isTokenGuided(autoregressiveSettings({ guidanceScale: 1 }), 0)).toBe(false);
});
