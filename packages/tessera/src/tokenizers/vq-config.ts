/**
 * The configuration of a LlamaGen VQ tokenizer and its presets. The official two are rows of Sun et al., "Autoregressive
 * Model Beats Diffusion" (arXiv 2406.06525), table 1; `vq-small` and `vq-small-64` are ours: the same blocks, narrow
 * where the picture is large, sized to train on two CPU cores.
 */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { wholeGrid } from './tokenizer.ts';

export const vqConfigSchema = strictConfig({
  /** Width at full resolution. */
  channels: z.int().min(1).max(4096),
  /** Width of each level as a multiple of `channels`, full resolution first; one level less than halvings. */
  channelMultipliers: z.array(z.int().min(1).max(64)).min(1).max(8),
  /** Width between the encoder and the 1×1 convolution to `codeDim`. */
  latentChannels: z.int().min(1).max(65536),
  /** V. */
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 20),
  codeDim: z.int().min(1).max(4096),
  /** Residual blocks a level. */
  encoderResBlocks: z.int().min(1).max(16),
  decoderResBlocks: z.int().min(1).max(16),
  /** Must divide the width of every level. */
  groupNormGroups: z.int().min(1).max(1024).default(32),
  /** Latents and codes are compared, and decoded, at length 1. */
  l2Norm: z.boolean().default(true),
  /** Self-attention after each residual block of the deepest level. */
  deepestAttention: z.boolean().default(true),
  /** Self-attention between the two residual blocks in the middle of encoder and decoder. */
  middleAttention: z.boolean().default(true),
  /** β: weight of the commitment loss. */
  commitBeta: z.number().min(0).max(100).default(0.25),
  /** Weight of the entropy loss; 0 leaves it out. */
  entropyRatio: z.number().min(0).max(100).default(0),
  /** How many of the last tokens the usage buffer of the official checkpoints holds; 0 for no buffer. */
  usageFifo: z
    .int()
    .min(0)
    .max(1 << 24)
    .default(65536),
}).superRefine((config, context) => {
  for (const [level, multiplier] of config.channelMultipliers.entries()) {
    const width = config.channels * multiplier;
    if (width % config.groupNormGroups !== 0) {
      context.addIssue({
        code: 'custom',
        path: ['groupNormGroups'],
        message: `expected a divisor of every level's width, got ${config.groupNormGroups} with width ${width} at level ${level}`,
      });
    }
  }
});

export type VqConfig = z.output<typeof vqConfigSchema>;
export type VqConfigInput = z.input<typeof vqConfigSchema>;

const OFFICIAL = { channels: 128, latentChannels: 256, codebookSize: 16384, codeDim: 8, encoderResBlocks: 2, decoderResBlocks: 3 }; // biome-ignore format: one row
/**
 * Narrow at full resolution, where a channel costs most; no attention, since the middle's convolutions see
 * most of an 8×8 grid; plain codes of 16 numbers, which after the first 200 steps reconstruct better than unit codes of 8.
 */
const SMALL = { channels: 16, latentChannels: 64, codebookSize: 1024, codeDim: 16, encoderResBlocks: 1, decoderResBlocks: 2, groupNormGroups: 8, l2Norm: false, deepestAttention: false, middleAttention: false, usageFifo: 0 }; // biome-ignore format: one row

const PRESETS = {
  'llamagen-vq16': { ...OFFICIAL, channelMultipliers: [1, 1, 2, 2, 4] }, // 256 px: 16×16 tokens
  'llamagen-vq8': { ...OFFICIAL, channelMultipliers: [1, 2, 2, 4] }, // 256 px: 32×32 tokens
  'vq-small': { ...SMALL, channelMultipliers: [1, 2, 6] }, // 32 px: 8×8 tokens, 1.4 M parameters
  'vq-small-64': { ...SMALL, channelMultipliers: [1, 2, 2, 6] }, // 64 px: 8×8 tokens, 1.5 M
} satisfies Record<string, VqConfigInput>;

export type VqPreset = keyof typeof PRESETS;
export const vqPresetNames = Object.keys(PRESETS) as VqPreset[];

/** The whole configuration of a preset, with some fields replaced. */
export function vqPreset(name: VqPreset, changes: Partial<VqConfigInput> = {}): VqConfig {
  return vqConfigSchema.parse({ ...PRESETS[name], ...changes });
}

/** Pixels of one token's side: 2^halvings. */
export function downsampleFactor(config: VqConfig): number {
  return 2 ** (config.channelMultipliers.length - 1);
}

/** Refuses picture sizes that do not give a whole token grid; returns the grid's rows and columns. */
export function tokenGrid(config: VqConfig, height: number, width: number): [rows: number, columns: number] {
  return wholeGrid(downsampleFactor(config), height, width);
}
