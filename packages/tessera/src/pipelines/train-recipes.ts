/**
 * How each model size is trained, as presets: the originals' recipes for the published sizes (reference §4), ours for the
 * small ones. A preset is the lowest layer; a file and flags stand above it (train-settings.ts).
 */

import type { ModelPreset } from '../models/presets.ts';

export interface TrainRecipe {
  /** Unless `epochs` says it. */
  steps: number;
  epochs?: number;
  globalBatch: number;
  learningRate: number;
  warmupSteps: number;
  checkpointEvery?: number;
}

const PUBLISHED = { steps: 500_000, globalBatch: 2048, learningRate: 4e-4, warmupSteps: 5000 };
// LlamaGen's for 300 epochs; rates and batches by size as its authors gave them (reference §6).
const LLAMAGEN = {
  steps: 1_501_200,
  epochs: 300,
  globalBatch: 256,
  learningRate: 1e-4,
  warmupSteps: 0,
  checkpointEvery: 5000,
};
const SMALL = { steps: 200_000, globalBatch: 256, learningRate: 4e-4, warmupSteps: 2000 };
const NANO = { steps: 10_000, globalBatch: 64, learningRate: 4e-4, warmupSteps: 100 };

// biome-ignore format: one row a model
const RECIPES: Record<ModelPreset, TrainRecipe> = {
  'autonat-l':     { ...PUBLISHED, checkpointEvery: 5000 },
  'autonat-l-512': { ...PUBLISHED, checkpointEvery: 5000 },
  'autonat-small': SMALL,
  'autonat-nano':  NANO,
  'enat-l':        { ...PUBLISHED, checkpointEvery: 1000 },
  'enat-l-512':    { ...PUBLISHED, globalBatch: 512, learningRate: 1e-4, checkpointEvery: 1000 },
  'enat-small':    SMALL,
  'enat-nano':     NANO,
  'gpt-b':         LLAMAGEN,
  'gpt-l':         LLAMAGEN,
  'gpt-xl':        { ...LLAMAGEN, learningRate: 2e-4 },
  'gpt-xxl':       { ...LLAMAGEN, learningRate: 2e-4, globalBatch: 512 },
  'gpt-xxxl':      { ...LLAMAGEN, learningRate: 2e-4, globalBatch: 512 },
  'gpt-1b':        { ...LLAMAGEN, learningRate: 2e-4, globalBatch: 512 },
  'gpt-3b':        { ...LLAMAGEN, learningRate: 2e-4, globalBatch: 512 },
  'gpt-7b':        { ...LLAMAGEN, learningRate: 2e-4, globalBatch: 512 },
  'gpt-micro':     NANO,
  'gpt-nano':      NANO,
};

export function trainRecipe(name: ModelPreset): TrainRecipe {
  return RECIPES[name];
}

/** What all NAT trainings share: AdamW with decay on every parameter. */
export const NAT_OPTIMIZER = { betas: [0.99, 0.99], weightDecay: 0.03 } as const;

/** LlamaGen's: no decay on norms, the gradient clipped. */
export const GPT_OPTIMIZER = { betas: [0.9, 0.95], weightDecay: 0.05, weightDecayOn: 'matrices', clip: 1 } as const;

/**
 * What the released trainers do and nobody would choose: a rate of 0 in the first two steps, a moving average that
 * starts from the random weights without warm-up, every other batch fetched and thrown away, ENAT's labels dropped twice.
 */
export function exactOriginal(family: string): { recipe: Record<string, unknown>; training: Record<string, unknown> } {
  return {
    recipe: family === 'enat' ? { labelDrop: 0.15, networkLabelDrop: 0.1 } : {},
    training: family === 'gpt' ? {} : { discardsBatches: true, weightDecayOn: 'all' },
  };
}

/** Whether a training by this recipe of a family learns the null class, in the data or in the network. */
export function dropsLabels(recipe: { labelDrop?: number; networkLabelDrop?: number }): boolean {
  return recipe.labelDrop !== 0 || (recipe.networkLabelDrop ?? 0) > 0;
}
