/**
 * What a search makes small. An objective measures settings on a number of images of a block of noise: the same block
 * gives the same noise and the same classes to every candidate (common random numbers), so that differences between
 * candidates are far less noisy than the values.
 */

import type { SamplingSettings } from '@tessera/schedule';
import { SearchError } from './search-error.ts';

export interface EvaluationPlace {
  numImages: number;
  /** Which block of noise, from 0. */
  seedBlock: number;
  signal?: AbortSignal | undefined;
}

export interface ObjectiveValue {
  /** Lower is better. */
  value: number;
  /** Of the value, over images, where the objective is a mean. */
  stdError?: number | undefined;
}

export interface Objective {
  evaluate(settings: SamplingSettings, at: EvaluationPlace): Promise<ObjectiveValue>;
  /** To be called when the network got other weights: what was kept of the old ones is dropped. */
  weightsChanged?(): void;
}

export interface WeightedObjective {
  objective: Objective;
  /** Negative for what should be large. */
  weight: number;
}

/** Σ weight · value; the errors are added as if independent. */
export function weightedSum(terms: readonly WeightedObjective[]): Objective {
  if (terms.length === 0) throw new SearchError('SEARCH_OBJECTIVE', 'Expected at least one objective, got none.');
  return {
    weightsChanged: () => {
      for (const { objective } of terms) objective.weightsChanged?.();
    },
    evaluate: async (settings, at) => {
      let value = 0;
      let variance = 0;
      let known = true;
      for (const { objective, weight } of terms) {
        const part = await objective.evaluate(settings, at);
        value += weight * part.value;
        if (part.stdError === undefined) known = false;
        else variance += (weight * part.stdError) ** 2;
      }
      return known ? { value, stdError: Math.sqrt(variance) } : { value };
    },
  };
}
