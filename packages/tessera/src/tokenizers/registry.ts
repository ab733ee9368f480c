/**
 * The tokenizer families: one row each. A family names itself in `config.json`, checks its configuration, constructs its
 * network and knows its own checkpoints by their tensor names; everything else works on `Tokenizer`. A new one is its
 * files here and a row.
 */

import type { z } from 'zod';
import type { ParameterBuilder } from '../nn/module.ts';
import type { Shapes } from '../nn/state-dict.ts';
import { inferMaskgitConfig, inferVqConfig } from './infer-config.ts';
import { LlamaGenVq } from './llamagen-vq.ts';
import {
  type MaskgitConfig,
  maskgitConfigSchema,
  maskgitFactor,
  maskgitPreset,
  maskgitPresetNames,
} from './maskgit-config.ts';
import { MaskgitVqgan } from './maskgit-vqgan.ts';
import type { Tokenizer } from './tokenizer.ts';
import { downsampleFactor, type VqConfig, vqConfigSchema, vqPreset, vqPresetNames } from './vq-config.ts';

export interface TokenizerFamily<Config = never> {
  /** For people. */
  title: string;
  schema: z.ZodType<Config>;
  construct(config: Config, p: ParameterBuilder): Tokenizer;
  /** Pixels of one token's side. */
  downsampleFactor(config: Config): number;
  /** Sizes by name. */
  presets: ReadonlyMap<string, Config>;
  /** A tensor that only checkpoints of this architecture have. */
  marker: string;
  /** The sizes of a checkpoint by the shapes of its tensors; throws where they make none. */
  infer(shapes: Shapes, where: string): Config;
}

function row<Config>(family: TokenizerFamily<Config>): TokenizerFamily<Config> {
  return family;
}

export const TOKENIZERS = {
  'llamagen-vq': row<VqConfig>({
    title: 'LlamaGen VQ',
    schema: vqConfigSchema,
    construct: (config, p) => new LlamaGenVq(config, p),
    downsampleFactor,
    presets: new Map(vqPresetNames.map((name) => [name, vqPreset(name)])),
    marker: 'encoder.conv_blocks.0.res.0.conv1.weight',
    infer: inferVqConfig,
  }),
  'maskgit-vqgan': row<MaskgitConfig>({
    title: 'MaskGIT VQGAN',
    schema: maskgitConfigSchema,
    construct: (config, p) => new MaskgitVqgan(config, p),
    downsampleFactor: maskgitFactor,
    presets: new Map(maskgitPresetNames.map((name) => [name, maskgitPreset(name)])),
    marker: 'encoder.down.0.block.0.conv1.weight',
    infer: inferMaskgitConfig,
  }),
};

export type TokenizerFamilyName = keyof typeof TOKENIZERS;
export const tokenizerFamilyNames = Object.keys(TOKENIZERS) as TokenizerFamilyName[];

/** A row by name, without the type of its configuration, which its own schema checks. */
export function tokenizerFamily(name: string): TokenizerFamily<Record<string, unknown>> {
  return TOKENIZERS[name as TokenizerFamilyName] as unknown as TokenizerFamily<Record<string, unknown>>;
}

/** All presets of all families: `maskgit-vqgan`, `llamagen-vq16`, … */
export function tokenizerPresets(): Map<string, { family: TokenizerFamilyName; config: Record<string, unknown> }> {
  return new Map(
    tokenizerFamilyNames.flatMap((family) =>
      [...tokenizerFamily(family).presets].map(([name, config]) => [name, { family, config }] as const),
    ),
  );
}
