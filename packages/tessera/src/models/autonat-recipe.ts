/**
 * Training AutoNAT (reference §4): cross entropy with label smoothing on the masked tokens, one mask ratio a sample. The
 * loss is the mean over all masked tokens of the shard, so samples with more of them weigh more, as in the released code.
 */

import { DrawPurpose, strictConfig } from '@tessera/schedule';
import { crossEntropyLoss, type Tensor, tensor } from '@tessera/torch';
import { z } from 'zod';
import { beside } from '../nn/device.ts';
import type { AutoNat, AutoNatInput } from './autonat.ts';
import type { MeasuredBatch, RunBlock, TrainingBatch, TrainingLoss } from './family.ts';
import {
  accuracyOf,
  drawMaskCount,
  dropLabels,
  maskedRecipeShape,
  measureMasked,
  type Predicted,
} from './masked-recipe.ts';

export const autonatRecipeSchema = strictConfig({
  ...maskedRecipeShape,
  /** Share of labels replaced by the null label. */
  labelDrop: z.number().min(0).max(1).default(0.15),
});

export type AutoNatRecipe = z.output<typeof autonatRecipeSchema>;

export interface AutoNatLossInput {
  /** What the network sees: [B, L] int64, the mask token at masked positions. */
  ids: Tensor;
  /** [B] int64. */
  labels: Tensor;
  /** Masked positions counted through the batch, b · L + p: [M] int64. */
  masked: Tensor;
  /** Their true tokens: [M] int64. */
  targets: Tensor;
  labelSmoothing: number;
  dropout?: AutoNatInput['dropout'];
  runBlock?: RunBlock | undefined;
}

/** logits — [M, V]. */
export function autonatLoss(model: AutoNat, input: AutoNatLossInput): Predicted {
  const { ids, labels, masked, targets, dropout, runBlock } = input;
  const features = model.features({
    tokens: ids,
    conditioning: model.condition(labels),
    runBlock,
    ...(dropout === undefined ? {} : { dropout }),
  });
  const logits = model.head(features.flatten(0, 1).indexSelect(0, masked));
  const loss = crossEntropyLoss(logits, targets, undefined, MEAN, -100, input.labelSmoothing);
  return { loss, logits, targets };
}

const MEAN = 1;

export function autonatTrainingLoss(
  model: AutoNat,
  _ema: AutoNat,
  batch: TrainingBatch,
  recipe: AutoNatRecipe,
): TrainingLoss {
  const { seqLen } = model;
  const ratios = batch.draws(DrawPurpose.MASK_RATIO);
  const orders = batch.draws(DrawPurpose.MASK_POSITIONS);
  const masked = Array.from({ length: batch.tokens.size(0) }, (_, row) => {
    const count = drawMaskCount(ratios, recipe, seqLen, seqLen);
    return Array.from(orders.permutation(seqLen).subarray(0, count).sort(), (p) => row * seqLen + p);
  });
  const result = autonatLoss(model, {
    ...maskTokens(model, batch.tokens, beside(tensor(masked.flat(), 'int64'), batch.tokens)),
    labels: dropLabels(batch.labels, model.nullLabel, batch.draws(DrawPurpose.LABEL_DROP), recipe.labelDrop),
    labelSmoothing: recipe.labelSmoothing,
    dropout: { probability: model.config.tokenDropout },
    runBlock: batch.runBlock,
  });
  return { loss: result.loss, metrics: { accuracy: accuracyOf(result) } };
}

export function measureAutonat(model: AutoNat, { tokens, labels, indices }: MeasuredBatch): Record<string, number> {
  const { seqLen } = model;
  const starts = tensor(
    indices.map((_, i) => i * seqLen),
    'int64',
  );
  const rows = beside(starts, tokens).unsqueeze(1);
  return measureMasked(model, indices, (order, maskCount) => {
    // Masked positions are those of the lowest orders, ascending.
    const positions = order.ge(maskCount).argsort({ stable: true }).narrow(1, 0, maskCount);
    const masked = positions.add(rows).flatten();
    return autonatLoss(model, { ...maskTokens(model, tokens, masked), labels, labelSmoothing: 0 });
  });
}

function maskTokens(
  { maskToken }: AutoNat,
  tokens: Tensor,
  masked: Tensor,
): Pick<AutoNatLossInput, 'ids' | 'masked' | 'targets'> {
  const flat = tokens.flatten();
  const ids = flat.scatterValue(0, masked, maskToken).viewAs(tokens);
  return { ids, masked, targets: flat.indexSelect(0, masked) };
}
