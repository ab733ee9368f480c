import { expect, test } from 'vitest';
import { classNamesOf } from '../data/imagenet-classes.ts';
import { planImages } from './class-choice.ts';

const names = classNamesOf(1000)!;
const labels = (...wanted: string[]): number[] => planImages(wanted, 1000, names, { perClass: 1 }).labels;

test('whole names, one word of a name that has several, and labels', () => {
  expect(labels('tench', '207', 'red panda', 'toilet tissue, toilet paper, bathroom tissue')).toEqual([
    0, 207, 387, 999,
  ]);
  expect(labels('goldfish,macaw')).toEqual([1, 88]);
});

test('a word of two classes is refused with the labels of both, an unknown one with the nearest', () => {
  expect(() => labels('crane')).toThrow('134 (crane), 517 (crane)');
  expect(() => labels('golden retreiver')).toThrow('did you mean "golden retriever"?');
});
