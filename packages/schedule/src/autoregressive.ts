/**
 * How an autoregressive model is sampled (LlamaGen; reference §4.2): settings of every token alike, where a masked model
 * has a list of steps. Both are what a model folder's strategy.yaml may hold, told apart by `kind`.
 */

import { z } from 'zod';
import { parseStrategy, provenanceSchema, type Strategy } from './strategy.ts';
import { parseConfig, strictConfig } from './strict-config.ts';

export const autoregressiveSettingsSchema = strictConfig({
  kind: z.literal('autoregressive').default('autoregressive'),
  /** s in uncond + s · (cond − uncond); 1 and below: off. */
  guidanceScale: z.number().min(0).max(1000).default(1),
  /** Tokens after the first that are guided, then the conditional logits alone are used; default: all are. */
  guidedTokens: z.int().min(0).optional(),
  /** Below 1e-5 it is 1e-5. */
  temperature: z.number().min(0).max(1000).default(1),
  /** Only codes at least as likely as the k-th are drawn; 0: all. */
  topK: z.int().min(0).default(0),
  /** Only the most likely codes that together reach this probability are drawn, at least one. */
  topP: z.number().min(0).max(1).default(1),
  /** The most likely code instead of a draw. */
  greedy: z.boolean().default(false),
  provenance: provenanceSchema.optional(),
});

export type AutoregressiveSettings = z.output<typeof autoregressiveSettingsSchema>;
export type AutoregressiveSettingsInput = z.input<typeof autoregressiveSettingsSchema>;

export function autoregressiveSettings(
  input: AutoregressiveSettingsInput = {},
  what = 'sampling settings',
): AutoregressiveSettings {
  return parseConfig(autoregressiveSettingsSchema, input, what);
}

/** How a model of any kind is sampled. */
export type SamplingSettings = Strategy | AutoregressiveSettings;

export function isAutoregressive(settings: SamplingSettings): settings is AutoregressiveSettings {
  return 'kind' in settings && settings.kind === 'autoregressive';
}

/** From a file: `kind: autoregressive`, or a strategy. */
export function parseSamplingSettings(value: unknown, what: string): SamplingSettings {
  const kind = typeof value === 'object' && value !== null ? (value as { kind?: unknown }).kind : undefined;
  return kind === 'autoregressive'
    ? parseConfig(autoregressiveSettingsSchema, value, what)
    : parseStrategy(value, what);
}
