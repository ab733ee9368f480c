/** How our own small models are sampled, and those that nobody has found anything better for. */

import {
  autoregressiveSettings,
  type EnatStrategyOptions,
  enatStrategy,
  type SamplingSettings,
  type Strategy,
} from '@tessera/schedule';
import type { GenerationKind } from '../models/family.ts';

/** Parameters of ENAT's formula for our own small models, chosen by looking at grids of `emoji-32`. */
export const SMALL_MODEL = {
  numSteps: 12,
  guidanceScale: 3,
  choiceTemperature: 2,
  sampleTemperature: 1.5,
} as const satisfies EnatStrategyOptions;

export function smallModelStrategy(): Strategy {
  return enatStrategy(SMALL_MODEL);
}

/** The same by kind of model. */
export function smallModelSampling(kind: GenerationKind): SamplingSettings {
  return kind === 'masked' ? smallModelStrategy() : autoregressiveSettings({ guidanceScale: 2 });
}
