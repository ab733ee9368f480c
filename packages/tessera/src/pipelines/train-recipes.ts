/**
 * How each model size is trained, as presets: the originals' recipes for the published sizes (reference §4), ours for the
 * small ones. A preset is the lowest layer; a file and flags stand above it (train-settings.ts).
 */

import { autonatSearched8, ENAT_PRESETS, enatStrategy, type Strategy } from '@tessera/schedule';
import type { ModelPreset } from '../models/presets.ts';
import { smallModelStrategy } from './class-grid.ts';

export interface TrainRecipe {
  steps: number;
  globalBatch: number;
  learningRate: number;
  warmupSteps: number;
  checkpointEvery?: number;
}

const PUBLISHED = { steps: 500_000, globalBatch: 2048, learningRate: 4e-4, warmupSteps: 5000 };
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
};

export function trainRecipe(name: ModelPreset): TrainRecipe {
  return RECIPES[name];
}

/** What all NAT trainings share: AdamW with decay on every parameter. */
export const NAT_OPTIMIZER = { betas: [0.99, 0.99], weightDecay: 0.03 } as const;

/**
 * What the released trainers do and nobody would choose: a rate of 0 in the first two steps, a moving average that
 * starts from the random weights without warm-up, every other batch fetched and thrown away, ENAT's labels dropped twice.
 */
export function exactOriginal(family: string): { recipe: Record<string, unknown>; training: Record<string, unknown> } {
  return {
    recipe: family === 'enat' ? { labelDrop: 0.15, networkLabelDrop: 0.1 } : {},
    training: { discardsBatches: true, weightDecayOn: 'all' },
  };
}

/** How a freshly trained model is sampled until somebody chooses otherwise. */
export function presetStrategy(name: ModelPreset): Strategy {
  if (name.startsWith('autonat-l')) return autonatSearched8();
  if (name === 'enat-l' || name === 'enat-l-512') return enatStrategy(ENAT_PRESETS[name === 'enat-l' ? 256 : 512]);
  return smallModelStrategy();
}
