/**
 * Trust-region search with a model of one bend a variable: f ≈ c + Σ gᵢ yᵢ + ½ Σ hᵢ yᵢ², fitted by least squares to the
 * points near the best one, minimised within the region; the region grows while the model is right and shrinks while it
 * is not (Conn, Scheinberg & Vicente, "Introduction to Derivative-Free Optimization", 2009, chapter 10, with fewer terms:
 * a whole quadratic has n²/2 of them, more than most budgets have evaluations). A batch is the model's minimum and some
 * random points around it, which keep the fit honest and many processes busy.
 */

import { DrawPurpose, Draws } from '@tessera/schedule';
import { solvePositive } from '../linear-algebra.ts';
import { type Candidate, type Method, pointAt, type Space, stepsTo } from '../method.ts';

export interface TrustRegionOptions {
  seed: number;
  /** Candidates of a batch beside the model's minimum; default n/4 up to 8, at least 2. */
  explore?: number | undefined;
  /** Radius at first, in units of the scale. Default 1. */
  radius?: number | undefined;
  /** The search ends below this radius. Default 0.01. */
  smallestRadius?: number | undefined;
}

interface Known {
  /** In units of the scale. */
  steps: number[];
  value: number;
}

export function* trustRegion(space: Space, options: TrustRegionOptions): Method {
  const n = space.start.length;
  const { seed, smallestRadius = 0.01 } = options;
  const explore = options.explore ?? Math.min(8, Math.max(2, Math.round(n / 4)));
  let radius = options.radius ?? 1;
  const known: Known[] = [];
  let best = { steps: new Array<number>(n).fill(0), value: Number.POSITIVE_INFINITY };

  // One step along every axis: the least that tells a slope.
  const axes = best.steps.map((_, i) => pointAt(space, best.steps.with(i, axisStep(space, i) * radius)));
  const first: Candidate[] = [[...space.start], ...axes].map((point, i) => ({
    phase: i === 0 ? 'start' : `axis_${i - 1}`,
    point,
    share: 1,
  }));
  learn(first, yield first);

  for (let round = 0; radius >= smallestRadius; round++) {
    const near = nearest(known, best.steps, 4 * n + 8);
    const model = fit(near, best, radius);
    const goal = minimum(model, radius);
    const expected = -predict(model, goal);
    const draws = new Draws(seed, round, 0, DrawPurpose.SEARCH);
    const around = Array.from({ length: explore }, () =>
      goal.map((y) => clamp(y + radius * 0.5 * draws.normal(), radius)),
    );
    const batch = [goal, ...around].map(
      (y, k): Candidate => ({
        phase: `round_${round}_${k}`,
        point: pointAt(
          space,
          best.steps.map((x, i) => x + y[i]!),
        ),
        share: 1,
      }),
    );
    const before = best;
    const values = yield batch;
    learn(batch, values);
    // Against the model's value at the best point: the lowest of many noisy values is lower than the truth.
    const gain = before.value + model.offset - values[0]!;
    const moved = best !== before;
    if (moved && gain > 0.7 * expected) radius = Math.min(4, 1.6 * radius);
    // Slowly: under noise a step often looks bad by bad luck, and a region that has shrunk into the noise finds nothing more.
    else if (gain < 0.1 * expected) radius *= moved ? 0.95 : 0.85;
  }

  function learn(batch: readonly Candidate[], values: readonly number[]): void {
    for (const [i, { point }] of batch.entries()) {
      const entry = { steps: stepsTo(space, point), value: values[i]! };
      known.push(entry);
      if (entry.value < best.value) best = entry;
    }
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

interface Model {
  /** Its value at the best point, above the measured one. */
  offset: number;
  slope: number[];
  bend: number[];
}

/** Around the best point, in steps from it; far points weigh less, and bends are held small unless the points ask for them. */
function fit(points: readonly Known[], best: Known, radius: number): Model {
  const n = best.steps.length;
  const size = 2 * n + 1;
  const matrix = Array.from({ length: size }, () => new Array<number>(size).fill(0));
  const right = new Array<number>(size).fill(0);
  for (const { steps, value } of points) {
    // In units of the radius, so that the ridge means the same at every size.
    const y = steps.map((x, i) => (x - best.steps[i]!) / radius);
    const row = [1, ...y, ...y.map((x) => (x * x) / 2)];
    const weight = 1 / (1 + y.reduce((sum, x) => sum + x * x, 0) / n) ** 2;
    for (let i = 0; i < size; i++) {
      right[i]! += weight * row[i]! * (value - best.value);
      for (let j = 0; j < size; j++) matrix[i]![j]! += weight * row[i]! * row[j]!;
    }
  }
  for (let i = 0; i < size; i++) matrix[i]![i]! += i > n ? 1e-4 : 1e-6;
  const solution = solvePositive(matrix, right);
  return {
    offset: solution[0]!,
    slope: solution.slice(1, n + 1).map((g) => g / radius),
    bend: solution.slice(n + 1).map((h) => h / radius ** 2),
  };
}

/** Each variable has its own parabola: exact within the box. */
function minimum({ slope, bend }: Model, radius: number): number[] {
  return slope.map((g, i) => {
    const h = bend[i]!;
    if (h > 0 && Math.abs(g / h) <= radius) return -g / h;
    return g > 0 ? -radius : g < 0 ? radius : 0;
  });
}

function predict({ slope, bend }: Model, y: readonly number[]): number {
  return y.reduce((sum, x, i) => sum + slope[i]! * x + (bend[i]! * x * x) / 2, 0);
}

function clamp(x: number, radius: number): number {
  return Math.min(radius, Math.max(-radius, x));
}
