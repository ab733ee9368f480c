/**
 * Schedules as smooth curves through a few knots: 4K numbers for any T, where the original has 4T − 2.
 *
 *   ratio(ρ) = cos(π/2 · u(ρ))   u rises from 0 to 1 over the share ρ of steps done: MaskGIT's cosine schedule with its
 *                                clock bent. K numbers z: slopes of the K + 1 pieces, exp(z) times the first one's. So
 *                                the ratios always fall.
 *   the other three lists        K values, evenly spaced from the first step to the last
 *
 * Between knots: monotone cubics, which make no bumps that the knots do not have (Fritsch & Carlson, SIAM J. Numer.
 * Anal. 1980, with the harmonic mean of neighbouring slopes).
 */

import { checkSpace, clampTo } from './method.ts';
import { HIGHEST_RATIO } from './methods/finite-difference.ts';
import type { ListBounds, Parametrisation } from './parametrisation.ts';
import { SearchError } from './search-error.ts';
import { interpolate, type ScheduleLists, type StrategyFrame, strategyOf } from './variables.ts';

/** Slopes between e⁻³ and e³ of the first: any further and a step has no tokens left. */
const BEND_LIMIT = 3;
const CURVES = ['choiceTemperatures', 'sampleTemperatures', 'guidance'] as const;
const SCALE = { bend: 0.4, choiceTemperatures: 0.5, sampleTemperatures: 0.2, guidance: 0.5 };

export interface SmoothOptions {
  numSteps: number;
  /** K, default 2 up to four steps, else 3. */
  knots?: number | undefined;
}

/** @param start of any number of steps: the knots are read off its curves */
export function smoothSchedule(
  start: ScheduleLists,
  frame: StrategyFrame,
  bounds: ListBounds,
  { numSteps, knots = numSteps <= 4 ? 2 : 3 }: SmoothOptions,
): Parametrisation {
  if (!(numSteps >= 2)) throw new SearchError('SEARCH_STEPS', 'A smooth schedule needs at least 2 steps, got 1.');
  if (!(Number.isInteger(knots) && knots >= 1 && knots <= numSteps)) {
    throw new SearchError('SEARCH_OPTIONS', `Expected 1 to ${numSteps} knots for ${numSteps} steps, got ${knots}.`);
  }
  const ofKnots = <T>(value: (k: number) => T): T[] => Array.from({ length: knots }, (_, k) => value(k));
  const box = {
    lower: [...ofKnots(() => -BEND_LIMIT), ...CURVES.flatMap((name) => ofKnots(() => bounds[name][0]))],
    upper: [...ofKnots(() => BEND_LIMIT), ...CURVES.flatMap((name) => ofKnots(() => bounds[name][1]))],
  };
  const space = {
    names: ['bend', ...CURVES].flatMap((name) => ofKnots((k) => `${name}[${k}]`)),
    start: clampTo(box, [...bendsOf(start.ratios, knots), ...CURVES.flatMap((name) => knotsOf(start[name], knots))]),
    ...box,
    scale: (['bend', ...CURVES] as const).flatMap((name) => ofKnots(() => SCALE[name])),
  };
  checkSpace(space);

  const lists = (point: readonly number[]): ScheduleLists => {
    const part = (i: number): number[] => point.slice(i * knots, (i + 1) * knots);
    const highest = Math.min(HIGHEST_RATIO, bounds.ratios[1]);
    return {
      ratios: ratiosOf(part(0), numSteps).map((ratio) => Math.max(bounds.ratios[0], Math.min(highest, ratio))),
      choiceTemperatures: curve(part(1), numSteps - 1),
      sampleTemperatures: curve(part(2), numSteps),
      guidance: curve(part(3), numSteps),
    };
  };
  return { name: 'smooth', space, lists, settings: (point) => strategyOf(lists(point), frame) };
}

/** [T − 1], falling. */
function ratiosOf(bends: readonly number[], numSteps: number): number[] {
  const slopes = [1, ...bends.map(Math.exp)];
  const total = slopes.reduce((sum, slope) => sum + slope, 0);
  const clock = [0];
  for (const slope of slopes) clock.push(clock.at(-1)! + slope / total);
  return Array.from({ length: numSteps - 1 }, (_, i) =>
    Math.cos((Math.PI / 2) * monotoneCubic(clock, (i + 1) / numSteps)),
  );
}

/** The inverse, as well as so few numbers can. */
function bendsOf(ratios: readonly number[], knots: number): number[] {
  const clock = [0];
  for (const ratio of [...ratios, 0]) {
    const time = (2 / Math.PI) * Math.acos(Math.min(1, Math.max(0, ratio)));
    clock.push(Math.max(clock.at(-1)! + 1e-3, time));
  }
  const at = Array.from({ length: knots + 2 }, (_, k) => interpolate(clock, k / (knots + 1)));
  const slopes = at.slice(1).map((time, k) => time - at[k]!);
  return slopes.slice(1).map((slope) => Math.log(slope / slopes[0]!));
}

function knotsOf(values: readonly number[], knots: number): number[] {
  const known = values.length > 0 ? values : [1];
  return Array.from({ length: knots }, (_, k) => interpolate(known, knots === 1 ? 0.5 : k / (knots - 1)));
}

function curve(knots: readonly number[], count: number): number[] {
  return Array.from({ length: count }, (_, i) => monotoneCubic(knots, count === 1 ? 0.5 : i / (count - 1)));
}

/** Through values evenly spaced over [0, 1]; rises and falls only where they do. */
export function monotoneCubic(values: readonly number[], at: number): number {
  const pieces = values.length - 1;
  if (pieces <= 0) return values[0]!;
  const slopes = values.slice(1).map((y, k) => y - values[k]!);
  const tangent = (k: number): number => {
    const [before, after] = [slopes[k - 1] ?? slopes[k]!, slopes[k] ?? slopes[k - 1]!];
    return before * after <= 0 ? 0 : (2 * before * after) / (before + after);
  };
  const place = Math.min(1, Math.max(0, at)) * pieces;
  const k = Math.min(pieces - 1, Math.floor(place));
  const t = place - k;
  const rest = 1 - t;
  return (
    values[k]! * (1 + 2 * t) * rest * rest +
    tangent(k) * t * rest * rest +
    values[k + 1]! * t * t * (3 - 2 * t) -
    tangent(k + 1) * t * t * rest
  );
}
