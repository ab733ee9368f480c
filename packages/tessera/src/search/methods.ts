/** The methods by name, over any space; finite differences belong to whole schedules. */

import { AskTell, type Method } from './method.ts';
import { cmaEs } from './methods/cma-es.ts';
import { coordinateSearch } from './methods/coordinate.ts';
import { type FiniteDifferenceOptions, finiteDifference } from './methods/finite-difference.ts';
import { successiveHalving } from './methods/successive-halving.ts';
import { trustRegion } from './methods/trust-region.ts';
import type { Parametrisation } from './parametrisation.ts';
import { SearchError } from './search-error.ts';

export const METHOD_NAMES = ['finite-difference', 'cma-es', 'coordinate', 'trust-region', 'halving'] as const;
export type MethodName = (typeof METHOD_NAMES)[number];

export interface MethodOptions extends FiniteDifferenceOptions {
  seed: number;
  /** Candidates at a time: a generation of CMA-ES, a batch of the trust region, a first rung of halving. */
  population?: number | undefined;
}

/** A method, told what a record holds already. */
export function startMethod(
  name: MethodName,
  parametrisation: Pick<Parametrisation, 'name' | 'space'>,
  options: MethodOptions,
  told: readonly number[] = [],
): AskTell {
  return AskTell.resume(makeMethod(name, parametrisation, options), told);
}

function makeMethod(
  name: MethodName,
  { name: kind, space }: Pick<Parametrisation, 'name' | 'space'>,
  options: MethodOptions,
): Method {
  const { seed, population } = options;
  switch (name) {
    case 'finite-difference':
      if (kind !== 'full') {
        throw new SearchError(
          'SEARCH_OPTIONS',
          `The method finite-difference moves all 4T − 2 numbers of a schedule; the parametrisation is ${kind}: choose another method, or the full one.`,
        );
      }
      return finiteDifference(space.start, (space.start.length + 2) / 4, options);
    case 'cma-es':
      return cmaEs(space, { seed, population });
    case 'coordinate':
      return coordinateSearch(space);
    case 'trust-region':
      return trustRegion(space, { seed, batch: population });
    case 'halving':
      return successiveHalving(space, { seed, candidates: population });
    default:
      return name satisfies never;
  }
}
