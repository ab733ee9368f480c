/**
 * Training ENAT (reference §4, §4.1): one mask ratio a shard, drawn from Beta(α, β); with some probability a shard
 * trains temporal reuse, its previous step encoded by the moving average. All draws are functions of (seed, step,
 * shard); the network's second label drop is folded into the data set's (one drop of the same total share).
 */

import { DrawPurpose, type Draws, roundHalfEven, strictConfig, trainingMaskCount } from '@tessera/schedule';
import { noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { z } from 'zod';
import type { TokenRows } from '../data/token-dataset.ts';
import type { Enat } from '../models/enat.ts';
import { type EnatLossInput, enatLoss } from '../models/enat-loss.ts';
import type { Shard, ShardResult, TrainingTask } from './task.ts';

export const enatTaskSchema = strictConfig({
  /** α and β of the mask ratio's Beta distribution. */
  maskBeta: z.tuple([z.number().positive(), z.number().positive()]).default([12, 3]),
  /** Share of labels replaced by the null label: 1 - 0.85 · 0.9, what the released code drops in its two places. */
  labelDrop: z.number().min(0).max(1).default(0.235),
  labelSmoothing: z.number().min(0).max(0.9).default(0.1),
  /** Share of shards that train temporal reuse. */
  reuseProbability: z.number().min(0).max(1).default(0.5),
  /** Who encodes the step before: the moving average, or the trained network itself. */
  reuseFrom: z.enum(['ema', 'self']).default('ema'),
});

export type EnatTaskConfig = z.output<typeof enatTaskSchema>;

export interface EnatTaskOptions {
  model: Enat;
  ema: Enat;
  data: TokenRows;
  /** Rows for measurements; none when the data set is too small to spare any. */
  heldOut?: TokenRows | undefined;
  config: EnatTaskConfig;
}

export function createEnatTask(options: EnatTaskOptions): TrainingTask {
  const { model, ema, data, heldOut } = options;
  return {
    name: 'enat',
    model,
    ema,
    numItems: data.numRows,
    ...(data.itemAt === undefined ? {} : { itemAt: (seed, place) => data.itemAt!(seed, place) }),
    shardLoss: (shard) => shardLoss(options, shard),
    ...(heldOut === undefined || heldOut.numRows === 0 ? {} : { evaluate: () => evaluate(ema, heldOut) }),
  };
}

function shardLoss({ model, ema, data, config }: EnatTaskOptions, shard: Shard): ShardResult {
  const { tokens, labels } = data.rows(shard.items, shard.draws(DrawPurpose.AUGMENT));
  const { seqLen } = model;
  const [alpha, beta] = config.maskBeta;
  const maskCount = trainingMaskCount(shard.draws(DrawPurpose.MASK_RATIO).beta(alpha, beta), seqLen, {
    minMasked: 1,
    maxMasked: seqLen - 1,
  });
  const reuseDraws = shard.draws(DrawPurpose.REUSE);
  const reuses = reuseDraws.coin(config.reuseProbability);
  const result = enatLoss(model, {
    tokens,
    labels: dropLabels(labels, model.nullLabel, shard.draws(DrawPurpose.LABEL_DROP), config.labelDrop),
    order: permutations(shard.draws(DrawPurpose.MASK_POSITIONS), shard.items.length, seqLen),
    maskCount,
    labelSmoothing: config.labelSmoothing,
    dropout: { probability: model.config.tokenDropout },
    ...(reuses
      ? {
          reuse: {
            network: config.reuseFrom === 'ema' ? ema : model,
            hideCount: roundHalfEven((seqLen - maskCount) * reuseDraws.uniform()),
            hideOrder: uniforms(shard.draws(DrawPurpose.REUSE_POSITIONS), shard.items.length, seqLen),
          },
        }
      : {}),
  });
  return { loss: result.loss, metrics: { accuracy: accuracyOf(result.logits, result.targets) } };
}

/** Mask ratios of the held-out measurement: from nearly everything masked to mostly visible. */
const EVALUATION_RATIOS = [0.95, 0.8, 0.6, 0.4];
const EVALUATION_BATCH = 64;
const EVALUATION_ROWS = 256;

/** Loss (without smoothing) and token accuracy on held-out rows, with fixed masks at fixed ratios. */
function evaluate(network: Enat, heldOut: TokenRows): Record<string, number> {
  const numRows = Math.min(heldOut.numRows, EVALUATION_ROWS);
  const { seqLen } = network;
  let loss = 0;
  let accuracy = 0;
  let weight = 0;
  for (let start = 0; start < numRows; start += EVALUATION_BATCH) {
    const indices = Array.from({ length: Math.min(EVALUATION_BATCH, numRows - start) }, (_, i) => start + i);
    for (const ratio of EVALUATION_RATIOS) {
      const [batchLoss, batchAccuracy] = noGrad(() =>
        scope(() => {
          const input: EnatLossInput = {
            ...heldOut.rows(indices, undefined),
            order: evaluationOrder(indices, seqLen),
            maskCount: trainingMaskCount(ratio, seqLen, { minMasked: 1, maxMasked: seqLen - 1 }),
            labelSmoothing: 0,
          };
          const result = enatLoss(network, input);
          return [result.loss.item(), accuracyOf(result.logits, result.targets).item()] as const;
        }),
      );
      loss += batchLoss * indices.length;
      accuracy += batchAccuracy * indices.length;
      weight += indices.length;
    }
  }
  return { loss: loss / weight, accuracy: accuracy / weight };
}

/** The same order of masking for a row at every evaluation: a golden-ratio walk, shifted by row. */
function evaluationOrder(indices: readonly number[], seqLen: number): Tensor {
  const rows = indices.map((row) =>
    Array.from({ length: seqLen }, (_, p) => ((p + 1) * 0.6180339887498949 + row * 0.7548776662466927) % 1),
  );
  return tensor(rows).argsort().argsort();
}

/** Share of masked tokens whose most likely code is the true one: scalar. */
function accuracyOf(logits: Tensor, targets: Tensor): Tensor {
  return logits.detach().argmax(-1).eq(targets).to('float32').mean();
}

function dropLabels(labels: Tensor, nullLabel: number, draws: Draws, share: number): Tensor {
  const values = labels.toNumbers().map((label) => (draws.uniform() < share ? nullLabel : label));
  return tensor(values, 'int64');
}

function permutations(draws: Draws, batch: number, length: number): Tensor {
  return tensor(
    Array.from({ length: batch }, () => Array.from(draws.permutation(length))),
    'int64',
  );
}

function uniforms(draws: Draws, batch: number, length: number): Tensor {
  return tensor(Array.from({ length: batch }, () => Array.from({ length }, () => draws.uniform())));
}
