/**
 * The settings of an autoregressive model as a box of five numbers: guidance scale, the share of tokens that are guided
 * (the interval begins at the first token), temperature, log₂ of top-k, top-p.
 */

import { type AutoregressiveSettings, autoregressiveSettings } from '@tessera/schedule';
import { checkSpace, clampTo } from './method.ts';
import type { Parametrisation } from './parametrisation.ts';
import { SearchError } from './search-error.ts';

const VARIABLES = ['guidanceScale', 'guidedShare', 'temperature', 'log2TopK', 'topP'] as const;
export type AutoregressiveVariable = (typeof VARIABLES)[number];
export const AUTOREGRESSIVE_VARIABLES: readonly AutoregressiveVariable[] = VARIABLES;
export type AutoregressiveBounds = Record<AutoregressiveVariable, readonly [low: number, high: number]>;

const SCALE: Record<AutoregressiveVariable, number> = {
  guidanceScale: 0.5,
  guidedShare: 0.15,
  temperature: 0.1,
  log2TopK: 1,
  topP: 0.05,
};

export function autoregressiveSpace(
  start: AutoregressiveSettings,
  { seqLen, codebookSize }: { seqLen: number; codebookSize: number },
  changes: Partial<AutoregressiveBounds> = {},
): Parametrisation {
  if (start.greedy) {
    throw new SearchError('SEARCH_OPTIONS', 'A greedy start has no temperature to search: give settings that draw.');
  }
  const all = Math.log2(codebookSize);
  const legal: AutoregressiveBounds = {
    guidanceScale: [0, 1000],
    guidedShare: [0, 1],
    temperature: [0, 1000],
    log2TopK: [0, all],
    topP: [0, 1],
  };
  const usual: AutoregressiveBounds = { ...legal, guidanceScale: [1, 20], temperature: [0.3, 2], topP: [0.3, 1] };
  const bounds = { ...usual, ...changes };
  for (const name of VARIABLES) {
    const [[low, high], [lowest, highest]] = [bounds[name], legal[name]];
    if (low >= lowest && low <= high && high <= highest) continue;
    throw new SearchError(
      'SEARCH_BOUNDS',
      `Expected bounds of ${name} within ${lowest} and ${highest}, got ${low} and ${high}.`,
    );
  }
  const values: Record<AutoregressiveVariable, number> = {
    guidanceScale: start.guidanceScale,
    guidedShare: (start.guidedTokens ?? seqLen) / seqLen,
    temperature: start.temperature,
    log2TopK: start.topK === 0 ? all : Math.log2(start.topK),
    topP: start.topP,
  };
  const box = { lower: VARIABLES.map((name) => bounds[name][0]), upper: VARIABLES.map((name) => bounds[name][1]) };
  const space = {
    names: VARIABLES,
    start: clampTo(
      box,
      VARIABLES.map((name) => values[name]),
    ),
    ...box,
    scale: VARIABLES.map((name) => SCALE[name]),
  };
  checkSpace(space);
  return {
    name: 'autoregressive',
    space,
    lists: () => undefined,
    settings: (point) => {
      const [guidanceScale, guidedShare, temperature, log2TopK, topP] = point as [
        number,
        number,
        number,
        number,
        number,
      ];
      const topK = Math.round(2 ** log2TopK);
      return autoregressiveSettings({
        guidanceScale,
        ...(guidedShare < 1 ? { guidedTokens: Math.round(guidedShare * seqLen) } : {}),
        temperature,
        topK: topK >= codebookSize ? 0 : topK,
        topP,
      });
    },
  };
}
