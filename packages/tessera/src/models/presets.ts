/** Model sizes by name, a line each. `*-l` and `*-l-512` are the published ones (parameter counts: reference §3); the others are ours. */

import { parseConfig } from '@tessera/schedule';
import { type EnatConfig, enatConfigSchema } from './enat.ts';
import type { GeneratorConfig } from './family.ts';
import { type FamilyName, familyOf } from './registry.ts';

const IMAGENET = { codebookSize: 1024, numClasses: 1000 };
const ENAT_L = { ...IMAGENET, embedDim: 1024, encoderDepth: 22, decoderDepth: 2, numHeads: 16 };

const PRESETS = {
  // biome-ignore-start format: one row a model
  'enat-l': { family: 'enat', config: { gridSize: 16, ...ENAT_L } }, // 256 px, 574,298,113 parameters
  'enat-l-512': { family: 'enat', config: { gridSize: 32, ...ENAT_L } }, // 512 px, 575,084,545
  'enat-nano': {
    family: 'enat',
    config: {
      gridSize: 8,
      codebookSize: 1024,
      numClasses: 25,
      embedDim: 144,
      encoderDepth: 6,
      decoderDepth: 2,
      numHeads: 4,
    },
  }, // 32 px, 4.2 M
  // biome-ignore-end format: one row a model
} as const satisfies Record<string, { family: FamilyName; config: object }>;

export type ModelPreset = keyof typeof PRESETS;
export const modelPresetNames = Object.keys(PRESETS) as [ModelPreset, ...ModelPreset[]];

/** A preset with some of its fields changed, such as the number of classes. */
export function modelPreset(
  name: ModelPreset,
  changes: Record<string, unknown> = {},
): { family: FamilyName; config: GeneratorConfig } {
  const { family, config } = PRESETS[name];
  return { family, config: parseConfig(familyOf(family).schema, { ...config, ...changes }, `model ${name}`) };
}

/** A preset of ENAT, as its own type. */
export function enatPreset(
  name: Extract<ModelPreset, `enat-${string}`>,
  changes: Partial<EnatConfig> = {},
): EnatConfig {
  return parseConfig(enatConfigSchema, modelPreset(name, changes).config, `model ${name}`);
}
