/** Named ways to train a tokenizer: the settings of the losses, and how the weights move. */

import { readFileSync } from 'node:fs';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { type VqRecipe, vqRecipeSchema } from '../training/vq-task.ts';
import { PipelineError } from './events.ts';

export const recipeNames = ['plain', 'llamagen'] as const;
export type RecipeName = (typeof recipeNames)[number];

export interface NamedRecipe {
  recipe: z.input<typeof vqRecipeSchema>;
  /** What is otherwise where training starts from a checkpoint, unless a file says it. */
  fineTuning: Partial<z.input<typeof vqRecipeSchema>>;
  globalBatch: number;
  learningRate: number;
  /** Falls along half a cosine, or stays. */
  decays: boolean;
  warmupSteps: number;
  betas: [number, number];
  ema: { decay: number; warmup: boolean };
}

export const RECIPES: Record<RecipeName, NamedRecipe> = {
  // What `fit` does: plain errors, and dead codes revived, for hours rather than weeks.
  plain: {
    recipe: { horizontalFlip: true },
    fineTuning: {},
    globalBatch: 32,
    learningRate: 1e-3,
    decays: true,
    warmupSteps: 100,
    betas: [0.9, 0.99],
    ema: { decay: 0.998, warmup: true },
  },
  // The released trainer's (arXiv 2406.06525; reference §1.7).
  llamagen: {
    recipe: {
      l1Weight: 0,
      randomCrop: true,
      horizontalFlip: true,
      reviveEvery: 0,
      discriminator: { kind: 'patchgan' },
      discriminatorStart: 20_000,
    },
    // The released trainer's way: reconstructions are good enough to be judged at once.
    fineTuning: { discriminatorStart: 0 },
    globalBatch: 128,
    learningRate: 1e-4,
    decays: false,
    warmupSteps: 0,
    betas: [0.9, 0.95],
    ema: { decay: 0.9999, warmup: false },
  },
};

/** A recipe file: settings of the losses that differ from those of `base`. */
const fileSchema = strictConfig({ base: z.enum(recipeNames).default('plain'), ...vqRecipeSchema.partial().shape });

/** A recipe by name, or from a YAML or JSON file. */
export function openRecipe(nameOrFile: string): NamedRecipe {
  const known = RECIPES[nameOrFile as RecipeName];
  if (known !== undefined) return known;
  let text: string;
  try {
    text = readFileSync(nameOrFile, 'utf8');
  } catch (error) {
    const expected = `${recipeNames.join(', ')} or a file`;
    throw new PipelineError('RECIPE', `Expected a recipe (${expected}), got "${nameOrFile}".`, { cause: error });
  }
  const { base, ...changes } = parseConfig(fileSchema, parseYaml(text, { maxAliasCount: 0 }), nameOrFile);
  const given = parseYaml(text, { maxAliasCount: 0 }) as Partial<VqRecipe>;
  const only = Object.fromEntries(Object.entries(changes).filter(([key]) => key in given));
  const { recipe, fineTuning, ...rest } = RECIPES[base];
  const others = Object.fromEntries(Object.entries(fineTuning).filter(([key]) => !(key in only)));
  return { ...rest, recipe: { ...recipe, ...only }, fineTuning: others };
}
