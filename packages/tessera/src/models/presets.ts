/** Model sizes by name, a line each. `*-l` and `*-l-512` are the published ones (reference §3); the others are ours. */

import { parseConfig } from '@tessera/schedule';
import { type EnatConfig, enatConfigSchema } from './enat.ts';
import type { GeneratorConfig } from './family.ts';
import { type FamilyName, familyOf } from './registry.ts';

const IMAGENET = { codebookSize: 1024, numClasses: 1000 };
const EMOJI = { codebookSize: 1024, numClasses: 25 };
const AUTONAT_L = { ...IMAGENET, embedDim: 768, depth: 24, numHeads: 8 };
const ENAT_L = { ...IMAGENET, embedDim: 1024, encoderDepth: 22, decoderDepth: 2, numHeads: 16 };

// biome-ignore format: one row a model
const PRESETS = {
  'autonat-l':     { family: 'autonat', config: { gridSize: 16, ...AUTONAT_L } }, // 256 px, 193,655,297 parameters
  'autonat-l-512': { family: 'autonat', config: { gridSize: 32, ...AUTONAT_L } }, // 512 px, 194,245,121
  'autonat-small': { family: 'autonat', config: { gridSize: 16, ...IMAGENET, embedDim: 384, depth: 12, numHeads: 6 } }, // 256 px, 26 M
  'autonat-nano':  { family: 'autonat', config: { gridSize: 8, ...EMOJI, embedDim: 192, depth: 8, numHeads: 4 } }, // 32 px, 4.5 M
  'enat-l':        { family: 'enat', config: { gridSize: 16, ...ENAT_L } }, // 256 px, 574,298,113
  'enat-l-512':    { family: 'enat', config: { gridSize: 32, ...ENAT_L } }, // 512 px, 575,084,545
  'enat-small':    { family: 'enat', config: { gridSize: 16, ...IMAGENET, embedDim: 384, encoderDepth: 10, decoderDepth: 2, numHeads: 6 } }, // 256 px, 42 M
  'enat-nano':     { family: 'enat', config: { gridSize: 8, ...EMOJI, embedDim: 144, encoderDepth: 6, decoderDepth: 2, numHeads: 4 } }, // 32 px, 4.2 M
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
