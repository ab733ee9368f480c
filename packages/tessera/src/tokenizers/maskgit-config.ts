/**
 * The configuration of a MaskGIT VQGAN and its presets. `maskgit-vqgan` is MAGE's tokenizer (`vqgan_jax_strongaug.ckpt`),
 * which AutoNAT and ENAT use at 256 and 512 pixels alike: 54,515,587 parameters, 16×16 tokens at 256 px.
 */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';

export const maskgitConfigSchema = strictConfig({
  /** Width at full resolution. */
  channels: z.int().min(1).max(4096),
  /** Width of each level as a multiple of `channels`, full resolution first; one level less than halvings. */
  channelMultipliers: z.array(z.int().min(1).max(64)).min(1).max(8),
  /** Residual blocks a level, of encoder and decoder alike. */
  resBlocks: z.int().min(1).max(16),
  /** V. */
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 20),
  /** Width of a code, which is the encoder's output. */
  codeDim: z.int().min(1).max(4096),
  /** Must divide the width of every level. */
  groupNormGroups: z.int().min(1).max(1024).default(32),
}).superRefine((config, context) => {
  for (const [level, multiplier] of config.channelMultipliers.entries()) {
    const width = config.channels * multiplier;
    if (width % config.groupNormGroups === 0) continue;
    context.addIssue({
      code: 'custom',
      path: ['groupNormGroups'],
      message: `expected a divisor of every level's width, got ${config.groupNormGroups} with width ${width} at level ${level}`,
    });
  }
});

export type MaskgitConfig = z.output<typeof maskgitConfigSchema>;
export type MaskgitConfigInput = z.input<typeof maskgitConfigSchema>;

const PRESETS = {
  'maskgit-vqgan': { channels: 128, channelMultipliers: [1, 1, 2, 2, 4], resBlocks: 2, codebookSize: 1024, codeDim: 256 },
} satisfies Record<string, MaskgitConfigInput>; // biome-ignore format: one row a model

export type MaskgitPreset = keyof typeof PRESETS;
export const maskgitPresetNames = Object.keys(PRESETS) as MaskgitPreset[];

/** The whole configuration of a preset, with some fields replaced. */
export function maskgitPreset(name: MaskgitPreset, changes: Partial<MaskgitConfigInput> = {}): MaskgitConfig {
  return maskgitConfigSchema.parse({ ...PRESETS[name], ...changes });
}

/** Pixels of one token's side: 2^halvings. */
export function maskgitFactor(config: MaskgitConfig): number {
  return 2 ** (config.channelMultipliers.length - 1);
}
