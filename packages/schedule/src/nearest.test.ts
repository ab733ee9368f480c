import { describe, expect, it } from 'vitest';
import { editDistance, nearest } from './nearest.ts';

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['abc', '', 3],
    ['', 'abc', 3],
    ['kitten', 'sitting', 3],
    ['steps', 'setps', 1],
    ['flaw', 'lawn', 2],
    ['same', 'same', 0],
  ])('%s -> %s: %d', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});

describe('nearest', () => {
  const keys = ['numSteps', 'guidanceScale', 'sampleTemperature', 'choiceTemperature'];

  it.each([
    ['numStep', 'numSteps'],
    ['num_steps', 'numSteps'],
    ['guidance-scale', 'guidanceScale'],
    ['guidnaceScale', 'guidanceScale'],
    ['sampelTemperature', 'sampleTemperature'],
    ['CHOICETEMPERATURE', 'choiceTemperature'],
  ])('%s -> %s', (word, key) => {
    expect(nearest(word, keys)).toBe(key);
  });

  it.each(['', 'xyz', 'epoch', 'a'.repeat(100000)])('finds nothing near to %.20s', (word) => {
    expect(nearest(word, keys)).toBeUndefined();
  });
});
