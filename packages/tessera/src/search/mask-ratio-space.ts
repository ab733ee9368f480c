/**
 * The training strategy that AutoNAT searches beside the schedule (CVPR 2024, section 4): mask ratios of training come from
 * Beta(α, β), and which distribution is best depends on the schedule that the model will be sampled with. The box is
 * ln α and ln β, since what matters is by which factor they change.
 */

import { checkSpace, clampTo, type Space } from './method.ts';
import { SearchError } from './search-error.ts';

/** α and β. */
export type MaskBeta = readonly [alpha: number, beta: number];
export type MaskRatioBounds = Record<(typeof NAMES)[number], readonly [low: number, high: number]>;

export const MASK_RATIO_VARIABLES = ['alpha', 'beta'] as const;
const NAMES = MASK_RATIO_VARIABLES;

/** From nearly even to nearly always the same share. */
const USUAL: MaskRatioBounds = { alpha: [0.5, 60], beta: [0.25, 60] };
/** What draws of Beta(α, β) take (schedule/draws.ts). */
const [LEAST, MOST] = [0.01, 1e6];
/** A factor of 1.4. */
const SCALE = Math.log(1.4);

export interface MaskRatioSpace {
  name: 'mask-ratio';
  space: Space;
  settings(point: readonly number[]): { maskBeta: [number, number] };
}

export function maskRatioSpace(start: MaskBeta, changes: Partial<MaskRatioBounds> = {}): MaskRatioSpace {
  const bounds = { ...USUAL, ...changes };
  for (const name of NAMES) {
    const [low, high] = bounds[name];
    if (low >= LEAST && low <= high && high <= MOST) continue;
    throw new SearchError(
      'SEARCH_BOUNDS',
      `Expected bounds of ${name} with ${LEAST} ≤ low ≤ high ≤ ${MOST}, got ${low} and ${high}.`,
    );
  }
  if (!start.every((x) => x > 0 && Number.isFinite(x))) {
    throw new SearchError('SEARCH_BOUNDS', `Expected a start with α and β above 0, got ${start.join(' and ')}.`);
  }
  const box = {
    lower: NAMES.map((name) => Math.log(bounds[name][0])),
    upper: NAMES.map((name) => Math.log(bounds[name][1])),
  };
  const space = {
    names: NAMES.map((name) => `ln ${name}`),
    start: clampTo(box, start.map(Math.log)),
    ...box,
    scale: NAMES.map(() => SCALE),
  };
  checkSpace(space);
  // Rounded, so that the logarithm's last bits do not show: 12 stays 12.
  const value = (x: number): number => Number(Math.exp(x).toPrecision(9));
  return { name: 'mask-ratio', space, settings: ([alpha, beta]) => ({ maskBeta: [value(alpha!), value(beta!)] }) };
}
