/** Samples by class for looking at: `perClass` images of each class in order, a class a row. */

import {
  autoregressiveSettings,
  type EnatStrategyOptions,
  enatStrategy,
  type SamplingSettings,
  type Strategy,
} from '@tessera/schedule';
import { noGrad, scope } from '@tessera/torch';
import type { RgbImage } from '../data/image.ts';
import type { GenerationKind, GeneratorModel } from '../models/family.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { decodeTokens } from './decode-tokens.ts';
import { forgetGraph } from './masked-graph.ts';
import { generateLabelled } from './start-generation.ts';

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

export interface ClassGridOptions {
  model: GeneratorModel;
  tokenizer: Tokenizer;
  perClass: number;
  seed: number;
  strategy?: SamplingSettings;
}

export function classGrid({ model, tokenizer, perClass, seed, strategy }: ClassGridOptions): RgbImage[] {
  const { numClasses } = model.config;
  const labels = Array.from({ length: numClasses * perClass }, (_, i) => Math.floor(i / perClass));
  const images: RgbImage[] = [];
  try {
    for (let start = 0; start < labels.length; start += BATCH) {
      const batch = labels.slice(start, start + BATCH);
      const options = { strategy: strategy ?? smallModelSampling(model.generation), labels: batch, seed, first: start };
      images.push(...noGrad(() => scope(() => decodeTokens(tokenizer, generateLabelled(model, options)))));
    }
  } finally {
    forgetGraph(model); // training goes on, and needs its memory
  }
  return images;
}

const BATCH = 64;
