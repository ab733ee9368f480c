import { memoryStats, scope, type Tensor, tensor } from '@tessera/torch';
import { expect, it } from 'vitest';
import { distinctLabels, Openings } from './openings.ts';

/** Logits [1, 2, 3] that are the label everywhere. */
function recorded() {
  const asked: number[] = [];
  const run = (label: number): Tensor => {
    asked.push(label);
    return tensor(Array(6).fill(label)).view([1, 2, 3]);
  };
  const firstsOf = (openings: Openings, labels: number[]): number[] =>
    scope(() => openings.logitsOf(labels, run).select(2, 0).select(1, 0).toNumbers());
  return { asked, firstsOf };
}

it('runs a label once, a row at a time, and frees what it keeps', () => {
  const before = memoryStats().liveTensors;
  const { asked, firstsOf } = recorded();
  const openings = new Openings();
  expect(firstsOf(openings, [5, 3])).toEqual([5, 3]);
  expect(firstsOf(openings, [3, 4, 5])).toEqual([3, 4, 5]);
  expect(asked).toEqual([5, 3, 4]);
  openings.dispose();
  expect(memoryStats().liveTensors).toBe(before);
});

it('lets go what was asked for least recently', () => {
  const { asked, firstsOf } = recorded();
  const openings = new Openings(12); // two rows
  firstsOf(openings, [1]);
  firstsOf(openings, [2]);
  firstsOf(openings, [1]);
  firstsOf(openings, [3]); // 2 goes
  expect(firstsOf(openings, [1, 3])).toEqual([1, 3]);
  expect(asked).toEqual([1, 2, 3]);
  // More in one call than may be kept.
  expect(firstsOf(openings, [6, 7, 8])).toEqual([6, 7, 8]);
  firstsOf(openings, [7, 8]);
  expect(asked).toEqual([1, 2, 3, 6, 7, 8]);
  openings.dispose();
});

it('finds each label among those without repetition', () => {
  expect(distinctLabels([7, 2, 7, 0])).toEqual({ classes: [7, 2, 0], places: [0, 1, 0, 2] });
});
