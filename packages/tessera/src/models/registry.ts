/**
 * The model families: one row each. A family names itself in `config.json`, checks its configuration and constructs its
 * network; everything else that knows a family is its own files and one sampler.
 */

import type { Module, ParameterBuilder } from '../nn/module.ts';
import { Enat, type EnatConfig, enatConfigSchema } from './enat.ts';

export const FAMILIES = {
  enat: {
    schema: enatConfigSchema,
    construct: (config: EnatConfig, p: ParameterBuilder): Enat => new Enat(config, p),
  },
} as const satisfies Record<string, { schema: unknown; construct: (config: never, p: ParameterBuilder) => Module }>;

export type Family = keyof typeof FAMILIES;
