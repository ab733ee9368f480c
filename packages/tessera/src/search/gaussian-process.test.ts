import { Draws } from '@tessera/schedule';
import { describe, expect, it } from 'vitest';
import { gaussianProcess } from './gaussian-process.ts';

/** Smooth over a few units. */
const hill = ([x, y]: readonly number[]): number => Math.sin(x! / 2) + Math.cos(y! / 3);

function grid(side: number): number[][] {
  return Array.from({ length: side * side }, (_, i) => [i % side, Math.floor(i / side)]);
}

describe('gaussianProcess', () => {
  it('goes through exact values, and knows what it does not know', () => {
    const points = grid(5);
    const process = gaussianProcess(points, points.map(hill));
    for (const at of [
      [1, 2],
      [2.5, 1.5],
      [0.3, 3.7],
    ]) {
      const { mean, deviation } = process.predict(at);
      expect(mean).toBeCloseTo(hill(at), 2);
      expect(process.mean(at)).toBe(mean);
      expect(deviation).toBeLessThan(0.02);
    }
    expect(process.predict([20, 20]).deviation).toBeGreaterThan(0.3);
  });

  it('takes noise for noise: the mean of many noisy values is nearer to the truth than they are', () => {
    const points = grid(9).map(([x, y]) => [x! / 2, y! / 2]);
    const draws = new Draws(1, 0, 0, 0);
    const values = points.map((at) => hill(at) + 0.2 * draws.normal());
    const process = gaussianProcess(points, values);
    const error = (of: (at: number[], i: number) => number): number =>
      Math.sqrt(points.reduce((sum, at, i) => sum + (of(at, i) - hill(at)) ** 2, 0) / points.length);
    expect(error((_, i) => values[i]!)).toBeGreaterThan(0.15);
    expect(error((at) => process.mean(at))).toBeLessThan(0.08);
  });

  it('imagines: the mean stays, the doubt at the place goes', () => {
    const points = [
      [0, 0],
      [1, 0],
      [0, 1],
      [2, 2],
    ];
    const process = gaussianProcess(points, points.map(hill));
    const at = [4, 4];
    const sure = process.imagine(at);
    expect(sure.mean(at)).toBeCloseTo(process.mean(at), 6);
    expect(sure.mean([1, 2])).toBeCloseTo(process.mean([1, 2]), 6);
    expect(sure.predict(at).deviation).toBeLessThan(0.1 * process.predict(at).deviation);
    expect(sure.predict([4.2, 4]).deviation).toBeLessThan(process.predict([4.2, 4]).deviation);
  });

  it('takes one value, and equal ones', () => {
    expect(gaussianProcess([[1]], [3]).mean([2])).toBe(3);
    const flat = gaussianProcess([[0], [1], [2]], [5, 5, 5]);
    expect(flat.predict([7])).toEqual({ mean: 5, deviation: expect.closeTo(0, 6) });
  });
});
