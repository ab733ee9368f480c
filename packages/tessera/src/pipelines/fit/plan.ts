/**
 * The plan of a `fit` (design rule 5): what is trained, for how many steps, with which settings. It is written before
 * the first training step, and from then on it decides, not the clock; so an interrupted run, resumed, ends in the same
 * bits, and `--plan FILE` repeats a run elsewhere.
 */

import { existsSync, readFileSync } from 'node:fs';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { replaceWhole } from '../../data/whole-folder.ts';
import { enatConfigSchema } from '../../models/enat.ts';
import { enatRecipeSchema } from '../../models/enat-recipe.ts';
import { vqConfigSchema } from '../../tokenizers/vq-config.ts';
import { trainingConfigSchema } from '../../training/config.ts';

import { vqRecipeSchema } from '../../training/vq-task.ts';
import { PipelineError } from '../events.ts';

export const fitPlanSchema = strictConfig({
  formatVersion: z.literal(1),
  /** Pixels of a side. */
  imageSize: z.int().min(8).max(4096),
  seed: z.int().min(0),
  /** Threads of libtorch: another number changes the last bits. */
  threads: z.int().min(1).max(4096),
  torch: z.string(),
  /** SHA-256 over the names, sizes and labels of the images and the split, so that a changed folder is noticed. */
  dataFingerprint: z.string(),
  numTrain: z.int().min(1),
  numHeldOut: z.int().min(0),
  classes: z.array(z.string()).min(1),
  tokenizer: strictConfig({
    /** `keep`: the shipped one as it is; `fine-tune`: trained further; `train`: from scratch. */
    mode: z.enum(['keep', 'fine-tune', 'train']),
    /** Why. */
    reason: z.string(),
    config: vqConfigSchema,
    recipe: vqRecipeSchema,
    training: trainingConfigSchema.optional(),
  }),
  generator: strictConfig({
    config: enatConfigSchema,
    task: enatRecipeSchema,
    training: trainingConfigSchema,
  }),
  /** What the steps were planned from; for people. */
  measured: z.record(z.string(), z.number()),
});

export type FitPlan = z.output<typeof fitPlanSchema>;

export function readPlan(path: string): FitPlan {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new PipelineError('PLAN', `${path} cannot be read as a plan: ${(error as Error).message}`, { cause: error });
  }
  return parseConfig(fitPlanSchema, json, path);
}

/** Writes the plan whole or not at all. */
export function writePlan(path: string, plan: FitPlan): void {
  replaceWhole(path, `${JSON.stringify(plan, undefined, 2)}\n`);
}

export function hasPlan(path: string): boolean {
  return existsSync(path);
}
