/**
 * Settings of the training loop. Everything that decides the resulting bits is here or in the task's own config; what
 * only decides when something is written is here too, so that one file describes a run.
 */

import { emaSchema, learningRateSchema, parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';

/**
 * Moving averages of the weights: the first is the one that is measured and sampled from; further ones, by other decays,
 * are in the checkpoints. One or several, each settings or a decay alone.
 */
const emasSchema = z.preprocess(
  (value) => (Array.isArray(value) ? value : [value]).map((ema) => (typeof ema === 'number' ? { decay: ema } : ema)),
  z
    .array(emaSchema)
    .min(1)
    .max(8)
    .refine((emas) => new Set(emas.map((ema) => ema.decay)).size === emas.length, 'expected different decays'),
);

const every = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

export const trainingConfigSchema = strictConfig({
  /** Of data order, draws and dropout. */
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  /** Items of one optimizer step. */
  globalBatch: z
    .int()
    .min(1)
    .max(1 << 20),
  /** Items of one logical shard, a divisor of globalBatch. Default: as many shards as fit of at least 64 items, at most 8. */
  shardSize: z.int().min(1).optional(),
  /** Passes over every other batch, as the released trainer of AutoNAT and ENAT does by mistake. */
  discardsBatches: z.boolean().default(false),
  /** Optimizer steps of the whole run. */
  totalSteps: z
    .int()
    .min(1)
    .max(2 ** 31),
  learningRate: learningRateSchema,
  /** Of AdamW. */
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]),
  eps: z.number().positive().default(1e-8),
  weightDecay: z.number().min(0).max(10).default(0),
  /** What decays: everything, or only parameters of two dimensions and more, without biases and norms. */
  weightDecayOn: z.enum(['all', 'matrices']).default('all'),
  /** Largest global norm of the gradient; without it, no clipping. */
  clip: z.number().positive().optional(),
  ema: emasSchema.prefault({}),
  /** Of the matrix products while a generator is trained, by autocast; absent: float32. fp16 scales the loss. */
  precision: z.enum(['bf16', 'fp16']).optional(),
  /** Steps between lines of metrics. */
  logEvery: every.default(20),
  /** Steps between checkpoints. The last step always has one. */
  checkpointEvery: every.default(500),
  /** Steps between held-out measurements; the last step always has one. */
  evaluateEvery: every.default(500),
  /** Steps between requests for samples; the last step always has one. */
  sampleEvery: every.default(500),
  /** Older checkpoints are removed. */
  keepCheckpoints: z.int().min(1).max(1000).default(2),
}).superRefine((config, context) => {
  if (config.shardSize !== undefined && config.globalBatch % config.shardSize !== 0) {
    context.addIssue({
      code: 'custom',
      path: ['shardSize'],
      message: `expected a divisor of globalBatch ${config.globalBatch}, got ${config.shardSize}`,
    });
  }
});

/** As a user writes it, defaults left out. */
export type TrainingConfigInput = z.input<typeof trainingConfigSchema>;
/** Every default filled in, the shard size too. */
export type TrainingConfig = z.output<typeof trainingConfigSchema> & { shardSize: number };

const MIN_DEFAULT_SHARD = 64;
const MAX_DEFAULT_SHARDS = 8;

/** Checks settings and fills in what is left out; `what` names where they come from in errors. */
export function resolveTrainingConfig(input: unknown, what = 'training config'): TrainingConfig {
  const config = parseConfig(trainingConfigSchema, input, what);
  return { ...config, shardSize: config.shardSize ?? defaultShardSize(config.globalBatch) };
}

/** As many equal shards as fit of at least 64 items, at most 8 (design rule 4). */
export function defaultShardSize(globalBatch: number): number {
  for (let shards = MAX_DEFAULT_SHARDS; shards > 1; shards--) {
    if (globalBatch % shards === 0 && globalBatch / shards >= MIN_DEFAULT_SHARD) return globalBatch / shards;
  }
  return globalBatch;
}
