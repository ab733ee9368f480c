/**
 * Trust-region search with a Gaussian process: the next candidates are those in a box around the best point where the
 * function may be lowest, by what all values near say of it; the box grows while better points are found and shrinks
 * while they are not (TuRBO: Eriksson et al., NeurIPS 2019, with lower confidence bounds in place of Thompson sampling).
 * The process tells noise from shape, so the box is around the point of the lowest expected value, not of the luckiest.
 * A batch has several candidates, each as if the ones before it were measured, which keeps many processes busy. No point
 * is measured twice: under common noise that would say nothing.
 */

import { DrawPurpose, Draws } from '@tessera/schedule';
import { gaussianProcess, type Posterior } from '../gaussian-process.ts';
import { type Candidate, type Method, pointAt, type Space, stepsTo } from '../method.ts';

export interface TrustRegionOptions {
  seed: number;
  /** Candidates of a batch; default 1 + n/4, from 3 to 9. */
  batch?: number | undefined;
  /** The search ends below this half side of the box, in units of the scale. Default 0.02. */
  smallestRadius?: number | undefined;
}

/** A candidate is promising by its expected value less so many standard deviations. */
const CONFIDENCE = 2;
const FIRST_RADIUS = 1.2;
const LARGEST_RADIUS = 2;
const GROWTH = 1.2;
const SHRINKAGE = 0.7;
/** Batches without a better point before the box shrinks: under noise one says little. */
const PATIENCE = 3;
/** Points that the process is told, those nearest to the best: its cost grows with their cube. */
const MEMORY = 200;
/** Places looked at for a candidate. */
const LOOKS = 120;

interface Known {
  /** In units of the scale. */
  steps: number[];
  value: number;
}

export function* trustRegion(space: Space, options: TrustRegionOptions): Method {
  const n = space.start.length;
  const { seed, smallestRadius = 0.02 } = options;
  const size = options.batch ?? Math.min(9, Math.max(3, 1 + Math.round(n / 4)));
  let radius = FIRST_RADIUS;
  const start = new Array<number>(n).fill(0);
  const known: Known[] = [];
  let best = start;
  let failures = 0;

  // One step along every axis: the least that tells a slope.
  const free = start.flatMap((_, i) => (space.lower[i]! < space.upper[i]! ? [i] : []));
  const axes = free.map((i) => start.with(i, axisStep(space, i)));
  yield* measure([start, ...axes], (i) => (i === 0 ? 'start' : `axis_${free[i - 1]}`));
  if (free.length === 0) return;

  for (let round = 0; radius >= smallestRadius; round++) {
    const near = nearest(known, best, MEMORY);
    // In units of the box once it is small, so that the process's lengths fit it.
    const unit = Math.min(1, radius);
    let process = gaussianProcess(
      near.map(({ steps }) => steps.map((x) => x / unit)),
      near.map(({ value }) => value),
    );
    const expected = ({ steps }: Known): number => process.mean(steps.map((x) => x / unit));
    const before = best;
    best = lowest(near, expected).steps;
    if (round > 0 && best !== before) {
      failures = 0;
      radius = Math.min(LARGEST_RADIUS, radius * GROWTH);
    } else if (round > 0 && ++failures === PATIENCE) {
      failures = 0;
      radius *= SHRINKAGE;
    }
    const draws = new Draws(seed, round, 0, DrawPurpose.SEARCH);
    const box = boxAround(space, best, radius);
    const batch: number[][] = [];
    const name = (steps: readonly number[]): string => String(pointAt(space, steps));
    const taken = new Set(known.map(({ steps }) => name(steps)));
    const isNew = (steps: readonly number[]): boolean => !taken.has(name(steps));
    while (batch.length < size) {
      const promising = mostPromising({ process, box, center: best, unit, isNew }, draws);
      taken.add(name(promising));
      batch.push(promising);
      process = process.imagine(promising.map((x) => x / unit));
    }
    yield* measure(batch, (k) => `round_${round}_${k}`);
  }

  function* measure(places: readonly number[][], phase: (i: number) => string): Method {
    const batch = places.map((steps, i): Candidate => ({ phase: phase(i), point: pointAt(space, steps), share: 1 }));
    const values = yield batch;
    for (const [i, { point }] of batch.entries()) known.push({ steps: stepsTo(space, point), value: values[i]! });
  }
}

/** Away from a bound that the start lies on. */
function axisStep({ start, upper, lower, scale }: Space, i: number): number {
  return upper[i]! - start[i]! >= Math.min(scale[i]!, start[i]! - lower[i]!) ? 1 : -1;
}

function nearest(known: readonly Known[], center: readonly number[], count: number): Known[] {
  const distance = ({ steps }: Known): number => steps.reduce((sum, x, i) => sum + (x - center[i]!) ** 2, 0);
  return known
    .map((entry, i) => ({ entry, i, distance: distance(entry) }))
    .sort((a, b) => a.distance - b.distance || a.i - b.i)
    .slice(0, count)
    .map(({ entry }) => entry);
}

function lowest(known: readonly Known[], value: (entry: Known) => number): Known {
  const values = known.map(value);
  return known[values.indexOf(Math.min(...values))]!;
}

/** [low, high] of each variable, within the bounds. */
function boxAround({ start, lower, upper, scale }: Space, center: readonly number[], radius: number) {
  return center.map((x, i): [number, number] => [
    Math.max(x - radius, (lower[i]! - start[i]!) / scale[i]!),
    Math.min(x + radius, (upper[i]! - start[i]!) / scale[i]!),
  ]);
}

interface Neighbourhood {
  process: Posterior;
  /** [low, high] of each variable. */
  box: readonly (readonly [number, number])[];
  /** The best point so far. */
  center: readonly number[];
  /** Of the process's lengths. */
  unit: number;
  /** Whether a place has not been measured. */
  isNew: (steps: readonly number[]) => boolean;
}

/** The new place of the lowest confidence bound, by random changes of the best one so far: of all variables or a few, wide or fine. */
function mostPromising({ process, box, center, unit, isNew }: Neighbourhood, draws: Draws): number[] {
  const bound = (steps: readonly number[]): number => {
    const { mean, deviation } = process.predict(steps.map((x) => x / unit));
    return mean - CONFIDENCE * deviation;
  };
  // The walk may stand on what was measured, the result may not.
  let best = { steps: [...center], bound: bound(center) };
  let found = { steps: [...center], bound: Infinity };
  for (let look = 0; look < LOOKS; look++) {
    const from = look % 2 === 0 ? center : best.steps;
    const share = look % 4 < 2 ? 0.5 : Math.min(1, 6 / center.length);
    const width = [0.5, 0.2, 0.06][look % 3]!;
    const steps = from.map((x, i) => {
      const [low, high] = box[i]!;
      if (draws.uniform() >= share) return x;
      return Math.min(high, Math.max(low, x + (high - low) * width * draws.normal()));
    });
    const place = { steps, bound: bound(steps) };
    if (place.bound < best.bound) best = place;
    if (place.bound < found.bound && isNew(steps)) found = place;
  }
  return found.steps;
}
