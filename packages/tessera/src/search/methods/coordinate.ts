/**
 * Coordinate search: one variable at a time, a step up and a step down; the better one is taken if it is better than
 * where we are, and that variable's step grows, else it shrinks (a compass search; Kolda, Lewis & Torczon, SIAM Review
 * 2003). Needs the same noise for every candidate: it takes any difference for real.
 */

import { type Candidate, clampTo, type Method, type Space } from '../method.ts';

export interface CoordinateOptions {
  /** The search ends when all steps are below this share of the first ones. Default 0.02. */
  smallestStep?: number | undefined;
}

const GROWTH = 1.5;
const SHRINKAGE = 0.5;

export function* coordinateSearch(space: Space, { smallestStep = 0.02 }: CoordinateOptions = {}): Method {
  let best = [...space.start];
  let [bestValue] = (yield [{ phase: 'start', point: best, share: 1 }]) as [number];
  const steps = space.scale.map(() => 1);
  for (let round = 0; steps.some((step) => step >= smallestStep); round++) {
    for (const [i, step] of steps.entries()) {
      if (step < smallestStep) continue;
      const tries = [1, -1]
        .map((sign) => clampTo(space, best.with(i, best[i]! + sign * step * space.scale[i]!)))
        .filter((point) => point[i] !== best[i])
        .map((point): Candidate => ({ phase: `round_${round}_${space.names[i]}`, point, share: 1 }));
      const values = tries.length > 0 ? yield tries : [];
      const winner = values.indexOf(Math.min(...values));
      const better = winner >= 0 && values[winner]! < bestValue;
      if (better) {
        best = [...tries[winner]!.point];
        bestValue = values[winner]!;
      }
      steps[i] = step * (better ? GROWTH : SHRINKAGE);
    }
  }
}
