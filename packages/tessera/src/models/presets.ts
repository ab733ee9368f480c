/** Model sizes by name, a line each. `enat-l-*` are the published ones (parameter counts: reference §3). */

import { parseConfig } from '@tessera/schedule';
import { type EnatConfig, enatConfigSchema } from './enat.ts';

const L = { codebookSize: 1024, numClasses: 1000, embedDim: 1024, encoderDepth: 22, decoderDepth: 2, numHeads: 16 };

const PRESETS = {
  'enat-l': { gridSize: 16, ...L }, // 256 px, 574,298,113 parameters
  'enat-l-512': { gridSize: 32, ...L }, // 512 px, 575,084,545
  'enat-nano': { gridSize: 8, codebookSize: 1024, numClasses: 25, embedDim: 144, encoderDepth: 6, decoderDepth: 2, numHeads: 4 }, // 32 px, 4.2 M
}; // biome-ignore format: one row a model

export type EnatPreset = keyof typeof PRESETS;
export const enatPresetNames = Object.keys(PRESETS) as EnatPreset[];

/** A preset with some of its fields changed, such as the number of classes. */
export function enatPreset(name: EnatPreset, changes: Partial<EnatConfig> = {}): EnatConfig {
  return parseConfig(enatConfigSchema, { ...PRESETS[name], ...changes }, `model ${name}`);
}
