/**
 * Successive halving over numbers of images (Jamieson & Talwalkar, AISTATS 2016): many candidates are measured on few
 * images, the better ones on more, the best on all. Rounds follow each other around the best so far, each narrower.
 * Every rung measures the point to beat as well, so that no candidate wins by the bias of small samples.
 */

import { DrawPurpose, Draws } from '@tessera/schedule';
import { type Candidate, type Method, pointAt, type Space, stepsTo } from '../method.ts';

const CANDIDATES = 27;
const FACTOR = 3;

export interface HalvingOptions {
  seed: number;
  /** Candidates of a round's first rung. Default 27. */
  candidates?: number | undefined;
  /** One of this many goes on, with as many times the images. Default 3. */
  factor?: number | undefined;
  /** First standard deviation, in units of the scale. Default 1.5. */
  spread?: number | undefined;
  /** Factor of the spread from round to round. Default 0.7. */
  narrowing?: number | undefined;
}

/** Of the images, that a candidate of the first rung gets. */
export function smallestShare(candidates = CANDIDATES): number {
  return FACTOR ** -rungsOf(candidates, FACTOR);
}

function rungsOf(candidates: number, factor: number): number {
  return Math.max(1, Math.floor(Math.log(candidates) / Math.log(factor) + 1e-9));
}

export function* successiveHalving(space: Space, options: HalvingOptions): Method {
  const { seed, candidates = CANDIDATES, factor = FACTOR, spread = 1.5, narrowing = 0.7 } = options;
  const rungs = rungsOf(candidates, factor);
  let best: readonly number[] = space.start;
  let [bestValue] = (yield [{ phase: 'start', point: best, share: 1 }]) as [number];
  for (let round = 0; ; round++) {
    const draws = new Draws(seed, round, 0, DrawPurpose.SEARCH);
    const center = stepsTo(space, best);
    const width = spread * narrowing ** round;
    let points = Array.from({ length: candidates }, () =>
      pointAt(
        space,
        center.map((x) => x + width * draws.normal()),
      ),
    );
    for (let rung = 0; rung <= rungs; rung++) {
      const share = factor ** (rung - rungs);
      const phase = `round_${round}_rung_${rung}`;
      // At the last rung the value to beat is known.
      const rivals = rung < rungs ? [best, ...points] : points;
      const values = yield rivals.map((point): Candidate => ({ phase, point, share }));
      const order = rivals.map((_, i) => i).sort((a, b) => values[a]! - values[b]! || a - b);
      if (rung < rungs) {
        const through = order.slice(0, Math.max(1, Math.round(rivals.length / factor)));
        points = through.filter((i) => i !== 0).map((i) => rivals[i]! as number[]);
        if (points.length === 0) break;
      } else if (values[order[0]!]! < bestValue) {
        best = rivals[order[0]!]!;
        bestValue = values[order[0]!]!;
      }
    }
  }
}
