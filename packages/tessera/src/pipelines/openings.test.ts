import { memoryStats, scope, type Tensor, tensor } from '@tessera/torch';
import { expect, it } from 'vitest';
import type { GeneratorModel, MaskedModel } from '../models/family.ts';
import { Openings, openingsOf } from './openings.ts';

/** A model of two tokens and three codes whose logits are the label, and the labels it was run for. */
function recorded(maxNumbers?: number) {
  const asked: number[] = [];
  const startSession = (labels: Tensor) => ({
    predict: () => {
      const [label, ...others] = labels.toNumbers();
      expect(others).toEqual([]);
      asked.push(label!);
      return { cond: tensor(Array(6).fill(label)).view([1, 2, 3]), uncond: undefined };
    },
    dispose: () => {},
  });
  const model = { seqLen: 2, maskToken: 3, nullLabel: 9, device: 'cpu', startSession } as unknown as MaskedModel;
  const openings = new Openings(model, maxNumbers);
  const predict = (labels: number[], guided = false): number[][] =>
    scope(() => {
      const { cond, uncond } = openings.predict(labels, guided);
      expect([cond.shape, uncond?.shape ?? cond.shape]).toEqual(Array(2).fill([labels.length, 2, 3]));
      return [cond, ...(uncond === undefined ? [] : [uncond])].map((x) => x.select(2, 0).select(1, 0).toNumbers());
    });
  return { asked, openings, predict };
}

it('runs a label once, a row at a time, and frees what it keeps', () => {
  const before = memoryStats().liveTensors;
  const { asked, openings, predict } = recorded();
  expect(predict([5, 3, 5], true)).toEqual([
    [5, 3, 5],
    [9, 9, 9],
  ]);
  expect(predict([3, 4])).toEqual([[3, 4]]);
  expect(predict([9], true)).toEqual([[9], [9]]);
  expect(asked).toEqual([5, 3, 9, 4]);
  openings.dispose();
  expect(memoryStats().liveTensors).toBe(before);
});

it('lets go what was asked for least recently', () => {
  const { asked, openings, predict } = recorded(12); // two labels
  for (const label of [1, 2, 1, 3]) predict([label]); // 2 goes
  expect(predict([1, 3])).toEqual([[1, 3]]);
  expect(asked).toEqual([1, 2, 3]);
  // More in one call than may be kept.
  expect(predict([6, 7, 8])).toEqual([[6, 7, 8]]);
  predict([7, 8]);
  expect(asked).toEqual([1, 2, 3, 6, 7, 8]);
  openings.dispose();
});

it('keeps nothing where a class is gone before it comes again', () => {
  // 2²⁸ logits a class: as many as may be kept.
  const large = {
    generation: 'masked',
    seqLen: 2 ** 14,
    config: { codebookSize: 2 ** 14 },
  } as unknown as GeneratorModel;
  const kept = (labels: number[] | undefined, model = large): boolean => openingsOf(model, labels) !== undefined;
  expect([kept([0, 1, 0, 1, 0]), kept([0, 1, 2])]).toEqual([false, false]);
  expect([kept([0, 0, 1, 1]), kept([0, 1, 1, 1]), kept([5, 5, 5]), kept(undefined)]).toEqual([true, true, true, true]);
  const small = { ...large, seqLen: 2 ** 13 } as GeneratorModel;
  expect([kept([0, 1, 0, 1], small), kept([0, 1, 2, 0], small)]).toEqual([true, false]);
  // Drawn at random: as many as are kept are met again.
  const drawn = (classes: number): number[] => Array.from({ length: 400 }, (_, i) => ((i * i * 7919) >> 3) % classes);
  expect([kept(drawn(3), small), kept(drawn(40), small)]).toEqual([true, false]);
});
