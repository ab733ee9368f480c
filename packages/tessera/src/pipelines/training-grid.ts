/** Samples along a training of a generator, for looking at: few, since they are drawn often and take time from it. */

import { noGrad, scope } from '@tessera/torch';
import { evenly } from '../data/evenly.ts';
import type { RgbImage } from '../data/image.ts';
import type { GeneratorModel } from '../models/family.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { decodeTokens } from './decode-tokens.ts';
import { forgetGraph } from './masked-graph.ts';
import { smallModelSampling } from './small-model-sampling.ts';
import { generateLabelled } from './start-generation.ts';

/** At most. */
const IMAGES = 64;
const PER_CLASS = 8;

/** The class of each image of a grid: up to 8 of each in a row; of more than 64 classes one of every so many. */
export function gridLabels(numClasses: number): { labels: number[]; perClass: number } {
  const classes = evenly(numClasses, IMAGES);
  const perClass = Math.max(1, Math.min(PER_CLASS, Math.floor(IMAGES / classes.length)));
  return { labels: classes.flatMap((label) => Array<number>(perClass).fill(label)), perClass };
}

export function trainingGrid(
  model: GeneratorModel,
  tokenizer: Tokenizer,
  seed: number,
): { images: RgbImage[]; perClass: number } {
  const { labels, perClass } = gridLabels(model.config.numClasses);
  const options = { strategy: smallModelSampling(model.generation), labels, seed, first: 0 };
  try {
    const images = noGrad(() => scope(() => decodeTokens(tokenizer, generateLabelled(model, options))));
    return { images, perClass };
  } finally {
    forgetGraph(model); // training goes on, and needs its memory
  }
}
