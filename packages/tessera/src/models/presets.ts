/** Model sizes by name, a line each. `*-l`, `*-l-512` and `gpt-b` to
 * `gpt-7b` are the published ones (reference §3, §3.1); the others are ours. */

import { parseConfig } from '@tessera/schedule';
import { type EnatConfig, enatConfigSchema } from './enat.ts';
import type { GeneratorConfig } from './family.ts';
import { type FamilyName, familyOf } from './registry.ts';

const IMAGENET = { codebookSize: 1024, numClasses: 1000 };
const EMOJI = { codebookSize: 1024, numClasses: 25 };
const LLAMAGEN = { gridSize: 16, codebookSize: 16384, numClasses: 1000 }; // 256 px
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
  'gpt-b':         { family: 'gpt', config: { ...LLAMAGEN, depth: 12, numHeads: 12, embedDim: 768 } }, // 110,888,448
  'gpt-l':         { family: 'gpt', config: { ...LLAMAGEN, depth: 24, numHeads: 16, embedDim: 1024 } }, // 342,910,976
  'gpt-xl':        { family: 'gpt', config: { ...LLAMAGEN, depth: 36, numHeads: 20, embedDim: 1280 } }, // 774,699,520
  'gpt-xxl':       { family: 'gpt', config: { ...LLAMAGEN, depth: 48, numHeads: 24, embedDim: 1536 } }, // 1,410,972,672
  'gpt-xxxl':      { family: 'gpt', config: { ...LLAMAGEN, depth: 48, numHeads: 40, embedDim: 2560 } }, // 3,893,027,840
  'gpt-1b':        { family: 'gpt', config: { ...LLAMAGEN, depth: 22, numHeads: 32, embedDim: 2048 } }, // 1,199,616,000
  'gpt-3b':        { family: 'gpt', config: { ...LLAMAGEN, depth: 24, numHeads: 32, embedDim: 3200 } }, // 3,096,659,200
  'gpt-7b':        { family: 'gpt', config: { ...LLAMAGEN, depth: 32, numHeads: 32, embedDim: 4096 } }, // 6,614,589,440
  'gpt-micro':     { family: 'gpt', config: { gridSize: 8, ...EMOJI, depth: 6, numHeads: 6, embedDim: 240, ffnMultipleOf: 32 } }, // 32 px, 4.7 M
  'gpt-nano':      { family: 'gpt', config: { gridSize: 8, ...EMOJI, depth: 4, numHeads: 4, embedDim: 128, ffnMultipleOf: 32 } }, // 32 px, 1.1 M
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

/** The preset of a network's sizes, whatever its classes, codes and heads. */
export function presetOfSizes(family: FamilyName, config: object): ModelPreset | undefined {
  const sizes = ['gridSize', 'embedDim', 'depth', 'encoderDepth', 'decoderDepth'];
  const sizesOf = (of: object): string => JSON.stringify(sizes.map((name) => (of as Record<string, unknown>)[name]));
  return modelPresetNames.find(
    (name) => PRESETS[name].family === family && sizesOf(PRESETS[name].config) === sizesOf(config),
  );
}

/** A preset of ENAT, as its own type. */
export function enatPreset(
  name: Extract<ModelPreset, `enat-${string}`>,
  changes: Partial<EnatConfig> = {},
): EnatConfig {
  return parseConfig(enatConfigSchema, modelPreset(name, changes).config, `model ${name}`);
}
