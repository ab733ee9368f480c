/**
 * What a search of AutoNAT's changes: four lists, 4T − 2 numbers (AutoNAT, CVPR 2024, section 4; released code, class
 * DisPatcher). The order of the lists is the order of the variables. Guidance is w = s − 1 here, as in the official
 * files, because the search's bounds and steps are stated for w.
 *
 *   ratios               share of tokens masked again after step i      [T-1]
 *   choiceTemperatures   factor of the Gumbel noise on the confidence   [T-1]
 *   sampleTemperatures   divides the logits                             [T]
 *   guidance             w in cond + w · (cond − uncond)                [T]
 */

import { parseStrategy, SAMPLE_TEMPERATURE_FLOOR, type Strategy } from '@tessera/schedule';
import { SearchError } from './search-error.ts';

export interface ScheduleLists {
  ratios: number[];
  choiceTemperatures: number[];
  sampleTemperatures: number[];
  guidance: number[];
}

export const LIST_NAMES = ['ratios', 'choiceTemperatures', 'sampleTemperatures', 'guidance'] as const;
export type ListName = (typeof LIST_NAMES)[number];

/** Keys of the official yaml file and of the search's CSV. */
export const OFFICIAL_NAMES = {
  ratios: 'manual_ratios',
  choiceTemperatures: 'manual_temp',
  sampleTemperatures: 'manual_samp_temp',
  guidance: 'manual_cfg',
} as const satisfies Record<ListName, string>;

/** What of a strategy a search leaves alone. */
export type StrategyFrame = Pick<
  Strategy,
  'remask' | 'order' | 'keepProgress' | 'sampleTemperatureFloor' | 'skipGuidanceBelow'
>;

/**
 * The frame of searched strategies. Each step fixes and masks at least one token whatever the ratios say, so any point
 * samples; guidance at the search's lower bound runs without its second pass, which nobody can see.
 * Ties are AutoNAT's, as its yaml file means them; models that cannot take ragged masks break them by position anyway.
 */
export function searchFrame(order: Strategy['order']): StrategyFrame {
  return {
    remask: 'threshold',
    order,
    keepProgress: true,
    sampleTemperatureFloor: SAMPLE_TEMPERATURE_FLOOR.autonat,
    skipGuidanceBelow: 1e-3,
  };
}

/** Values in a list of T steps. */
export function listLength(name: ListName, numSteps: number): number {
  return name === 'ratios' || name === 'choiceTemperatures' ? numSteps - 1 : numSteps;
}

/** One list after the other — [4T − 2]. */
export function toPoint(lists: ScheduleLists): number[] {
  return LIST_NAMES.flatMap((name) => lists[name]);
}

export function fromPoint(point: readonly number[], numSteps: number): ScheduleLists {
  let at = 0;
  const take = (name: ListName): number[] => {
    const from = at;
    at += listLength(name, numSteps);
    return point.slice(from, at);
  };
  const lists = {
    ratios: take('ratios'),
    choiceTemperatures: take('choiceTemperatures'),
    sampleTemperatures: take('sampleTemperatures'),
    guidance: take('guidance'),
  };
  if (at === point.length) return lists;
  throw new SearchError(
    'SEARCH_STEPS',
    `Expected 4T − 2 = ${at} numbers for a strategy of ${numSteps} steps, got ${point.length}.`,
  );
}

/** @param seqLen L, for strategies that give counts of tokens instead of shares */
export function listsOf({ steps }: Strategy, seqLen: number): ScheduleLists {
  const butLast = steps.slice(0, -1);
  return {
    // Half a token more, so that rounding down gives the count again.
    ratios: butLast.map(({ maskRatio, maskCount }) => maskRatio ?? Math.min(1, (maskCount! + 0.5) / seqLen)),
    choiceTemperatures: butLast.map((step) => step.choiceTemperature),
    sampleTemperatures: steps.map((step) => step.sampleTemperature),
    guidance: steps.map((step) => step.guidanceScale - 1),
  };
}

export function strategyOf(lists: ScheduleLists, frame: StrategyFrame): Strategy {
  const numSteps = lists.sampleTemperatures.length;
  const wrong = LIST_NAMES.find((name) => lists[name].length !== listLength(name, numSteps));
  if (wrong !== undefined) {
    throw new SearchError(
      'SEARCH_STEPS',
      `Expected ${listLength(wrong, numSteps)} values in ${wrong} of a strategy of ${numSteps} steps, got ${lists[wrong].length}.`,
    );
  }
  return parseStrategy({
    formatVersion: 1,
    numSteps,
    ...frame,
    steps: lists.sampleTemperatures.map((sampleTemperature, i) => ({
      maskRatio: lists.ratios[i] ?? 0,
      sampleTemperature,
      choiceTemperature: lists.choiceTemperatures[i] ?? 0,
      guidanceScale: 1 + lists.guidance[i]!,
    })),
  });
}

/** The content of AutoNAT's yaml file. */
export function officialLists(lists: ScheduleLists): Record<string, number[]> {
  return Object.fromEntries(LIST_NAMES.map((name) => [OFFICIAL_NAMES[name], lists[name]]));
}

/**
 * The same curves over another number of steps, by linear interpolation: ratios over the share of steps done, with 1
 * before the first and 0 after the last; the others over the place of the step between first and last.
 */
export function resample(lists: ScheduleLists, numSteps: number): ScheduleLists {
  const from = lists.sampleTemperatures.length;
  if (from === numSteps) return lists;
  const ratios = [1, ...lists.ratios, 0];
  const along = (values: readonly number[], count: number): number[] =>
    Array.from({ length: count }, (_, i) => interpolate(values, count === 1 ? 0.5 : i / (count - 1)));
  return {
    ratios: Array.from({ length: numSteps - 1 }, (_, i) => interpolate(ratios, (i + 1) / numSteps)),
    choiceTemperatures: along(lists.choiceTemperatures.length > 0 ? lists.choiceTemperatures : [1], numSteps - 1),
    sampleTemperatures: along(lists.sampleTemperatures, numSteps),
    guidance: along(lists.guidance, numSteps),
  };
}

/** Of values evenly spaced over [0, 1]. */
export function interpolate(values: readonly number[], at: number): number {
  const place = Math.min(1, Math.max(0, at)) * (values.length - 1);
  const left = Math.min(values.length - 1, Math.floor(place));
  const right = Math.min(values.length - 1, left + 1);
  return values[left]! + (values[right]! - values[left]!) * (place - left);
}
