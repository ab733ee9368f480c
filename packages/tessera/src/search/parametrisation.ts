/**
 * From the numbers that a search moves to the settings that a model is sampled with. Three ways: all 4T − 2 numbers of
 * a schedule, as the original does; smooth curves through a few knots (smooth-schedule.ts); and the settings of an
 * autoregressive model (autoregressive-space.ts). A start is brought within the bounds; bounds that hold nothing are refused.
 */

import type { SamplingSettings } from '@tessera/schedule';
import { checkSpace, clampTo, type Space } from './method.ts';
import { HIGHEST_RATIO, LOWEST } from './methods/finite-difference.ts';
import { SearchError } from './search-error.ts';
import {
  fromPoint,
  LIST_NAMES,
  type ListName,
  listLength,
  type ScheduleLists,
  type StrategyFrame,
  strategyOf,
  toPoint,
} from './variables.ts';

export interface Parametrisation {
  readonly name: string;
  readonly space: Space;
  settings(point: readonly number[]): SamplingSettings;
  /** The four lists behind a point; undefined for autoregressive models. */
  lists(point: readonly number[]): ScheduleLists | undefined;
}

export type ListBounds = Record<ListName, readonly [low: number, high: number]>;

/** The original's lower bounds; upper ones far beyond what anyone samples with. Guidance as w = s − 1. */
export const DEFAULT_BOUNDS: ListBounds = {
  ratios: [0, HIGHEST_RATIO],
  choiceTemperatures: [LOWEST, 20],
  sampleTemperatures: [LOWEST, 10],
  guidance: [LOWEST, 20],
};

/** Well within what a strategy takes. */
const HIGHEST_SETTING = 1e5;

/** First steps worth trying: what moves the count of tokens, and the odds of codes, by some per cent. */
const SCALE: Record<ListName, number> = {
  ratios: 0.05,
  choiceTemperatures: 0.5,
  sampleTemperatures: 0.2,
  guidance: 0.5,
};

export function resolveBounds(changes: Partial<ListBounds> = {}): ListBounds {
  const bounds = { ...DEFAULT_BOUNDS, ...changes };
  for (const name of LIST_NAMES) {
    const [low, high] = bounds[name];
    const lowest = name === 'guidance' ? -1 : 0;
    const highest = name === 'ratios' ? 1 : HIGHEST_SETTING;
    if (low >= lowest && high <= highest && low <= high) continue;
    throw new SearchError(
      'SEARCH_BOUNDS',
      `Expected bounds of ${name} with ${lowest} ≤ low ≤ high ≤ ${highest}, got ${low} and ${high}.`,
    );
  }
  return bounds;
}

/** Every number of the schedule on its own. */
export function fullSchedule(start: ScheduleLists, frame: StrategyFrame, bounds: ListBounds): Parametrisation {
  const numSteps = start.sampleTemperatures.length;
  const each = <T>(value: (name: ListName, i: number) => T): T[] =>
    LIST_NAMES.flatMap((name) => Array.from({ length: listLength(name, numSteps) }, (_, i) => value(name, i)));
  const box = { lower: each((name) => bounds[name][0]), upper: each((name) => bounds[name][1]) };
  const space = {
    names: each((name, i) => `${name}[${i}]`),
    start: clampTo(box, toPoint(start)),
    ...box,
    scale: each((name) => SCALE[name]),
  };
  checkSpace(space);
  const lists = (point: readonly number[]): ScheduleLists => fromPoint(point, numSteps);
  return { name: 'full', space, lists, settings: (point) => strategyOf(lists(point), frame) };
}
