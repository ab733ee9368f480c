/**
 * Training ENAT (reference §4, §4.1): one mask ratio a shard, so that visible and masked tokens are rectangular; with
 * some probability a shard trains temporal reuse, its previous step encoded by the moving average. The released code
 * drops labels twice, in the data set and once more inside the trained network; `labelDrop` alone gives the same share
 * in one draw, `networkLabelDrop` reproduces the second.
 */

import { DrawPurpose, roundHalfEven, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { beside } from '../nn/device.ts';
import type { Enat } from './enat.ts';
import { type EnatLossInput, enatLoss } from './enat-loss.ts';
import type { MeasuredBatch, TrainingBatch, TrainingLoss } from './family.ts';
import {
  accuracyOf,
  drawMaskCount,
  drawOrders,
  drawUniforms,
  dropLabels,
  maskedRecipeShape,
  measureMasked,
} from './masked-recipe.ts';

export const enatRecipeSchema = strictConfig({
  ...maskedRecipeShape,
  /** Share of labels replaced by the null label: 1 - 0.85 · 0.9, what the released code drops in its two places. */
  labelDrop: z.number().min(0).max(1).default(0.235),
  /** Share of labels that the trained network drops on top, unknown to the step before; 0.1 in the released code. */
  networkLabelDrop: z.number().min(0).max(1).default(0),
  /** Share of shards that train temporal reuse. */
  reuseProbability: z.number().min(0).max(1).default(0.5),
  /** Who encodes the step before: the moving average, or the trained network itself. */
  reuseFrom: z.enum(['ema', 'self']).default('ema'),
});

export type EnatRecipe = z.output<typeof enatRecipeSchema>;

export function enatTrainingLoss(model: Enat, ema: Enat, batch: TrainingBatch, recipe: EnatRecipe): TrainingLoss {
  const { seqLen, nullLabel } = model;
  const numRows = batch.tokens.size(0);
  const maskCount = drawMaskCount(batch.draws(DrawPurpose.MASK_RATIO), recipe, seqLen, seqLen - 1);
  const reuseDraws = batch.draws(DrawPurpose.REUSE);
  const reuses = reuseDraws.coin(recipe.reuseProbability);
  const labelDraws = batch.draws(DrawPurpose.LABEL_DROP);
  const input: EnatLossInput = {
    tokens: batch.tokens,
    labels: dropLabels(batch.labels, nullLabel, labelDraws, recipe.labelDrop),
    order: beside(drawOrders(batch.draws(DrawPurpose.MASK_POSITIONS), numRows, seqLen), batch.tokens),
    maskCount,
    labelSmoothing: recipe.labelSmoothing,
    dropout: { probability: model.config.tokenDropout },
    runBlock: batch.runBlock,
  };
  if (recipe.networkLabelDrop > 0)
    input.dropLabels = beside(drawUniforms(labelDraws, numRows, 1), batch.tokens)
      .flatten()
      .lt(recipe.networkLabelDrop);
  if (reuses) {
    input.reuse = {
      network: recipe.reuseFrom === 'ema' ? ema : model,
      hideCount: roundHalfEven((seqLen - maskCount) * reuseDraws.uniform()),
      hideOrder: beside(drawUniforms(batch.draws(DrawPurpose.REUSE_POSITIONS), numRows, seqLen), batch.tokens),
    };
  }
  const result = enatLoss(model, input);
  return { loss: result.loss, metrics: { accuracy: accuracyOf(result) } };
}

export function measureEnat(model: Enat, { tokens, labels, indices }: MeasuredBatch): Record<string, number> {
  return measureMasked(model, indices, (order, maskCount) =>
    enatLoss(model, { tokens, labels, order, maskCount, labelSmoothing: 0 }),
  );
}
