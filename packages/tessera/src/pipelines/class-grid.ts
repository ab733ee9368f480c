/** Samples by class for looking at: `perClass` images of each class in order, a class a row. */

import { enatStrategy, type Strategy } from '@tessera/schedule';
import { noGrad, scope } from '@tessera/torch';
import type { RgbImage } from '../data/image.ts';
import type { GeneratorModel } from '../models/family.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { decodeTokens } from './decode-tokens.ts';
import { generateTokens } from './masked-generation.ts';
import { philoxNoise } from './noise-source.ts';

/** The strategy of our own small models, chosen by looking at grids of `emoji-32`. */
export function smallModelStrategy(): Strategy {
  return enatStrategy({ numSteps: 12, guidanceScale: 3, choiceTemperature: 2, sampleTemperature: 1.5 });
}

export interface ClassGridOptions {
  model: GeneratorModel;
  tokenizer: Tokenizer;
  perClass: number;
  seed: number;
  strategy?: Strategy;
}

export function classGrid({ model, tokenizer, perClass, seed, strategy }: ClassGridOptions): RgbImage[] {
  const { numClasses } = model.config;
  const labels = Array.from({ length: numClasses * perClass }, (_, i) => Math.floor(i / perClass));
  const images: RgbImage[] = [];
  for (let start = 0; start < labels.length; start += BATCH) {
    const batch = labels.slice(start, start + BATCH);
    const noise = philoxNoise(
      seed,
      batch.map((_, i) => start + i),
    );
    const options = { strategy: strategy ?? smallModelStrategy(), labels: batch, noise };
    images.push(...noGrad(() => scope(() => decodeTokens(tokenizer, generateTokens(model, options)))));
  }
  return images;
}

const BATCH = 64;
