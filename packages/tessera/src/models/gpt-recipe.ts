/**
 * Training a GPT (LlamaGen's recipe; next-patch prediction's stages, arXiv 2412.15321, reference §5.4, §6): the stage of
 * a step gives the side of its cells, and some labels are dropped for guidance. A function of (seed, step, shard), so a
 * resumed run is in the same stage with the same draws.
 */

import { DrawPurpose, patchStageAt, strictConfig } from '@tessera/schedule';
import { type Tensor, tensor } from '@tessera/torch';
import { z } from 'zod';
import { beside } from '../nn/device.ts';
import type { MeasuredBatch, TrainingBatch, TrainingLoss } from './family.ts';
import type { Gpt } from './gpt.ts';
import { dropConditions } from './gpt-condition.ts';
import { type GptLossOutput, gptLoss } from './gpt-loss.ts';
import { checkPatchSide } from './gpt-patches.ts';

export const gptRecipeSchema = strictConfig({
  /** Share of labels replaced by the null label. */
  labelDrop: z.number().min(0).max(1).default(0.1),
  /** Coarse to fine: cells of `patchSide` until optimizer step `end`; after the last, as in the last. Default: plain. */
  stages: z
    .array(
      strictConfig({
        patchSide: z.int().min(1).max(256),
        end: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
      }),
    )
    .min(1)
    .refine((stages) => stages.every(({ end }, i) => i === 0 || end >= stages[i - 1]!.end), {
      message: 'expected stages that end one after the other',
    })
    .default([{ patchSide: 1, end: 0 }]),
});

export type GptRecipe = z.output<typeof gptRecipeSchema>;

/** Refuses stages that do not fit the model's grid; before the first step, not in the middle of a run. */
export function checkStages(model: Gpt, recipe: GptRecipe): void {
  for (const { patchSide } of recipe.stages) checkPatchSide(model.config.gridSize, patchSide);
}

/** `patchSide` among the metrics shows the stages in logs and curves. */
export function gptTrainingLoss(model: Gpt, _ema: Gpt, batch: TrainingBatch, recipe: GptRecipe): TrainingLoss {
  const { patchSide } = patchStageAt(recipe.stages, batch.step);
  const uniforms = batch.draws(DrawPurpose.LABEL_DROP);
  const dropped = Array.from({ length: batch.labels.size(0) }, () => (uniforms.uniform() < recipe.labelDrop ? 1 : 0));
  const labels = model.hasNullCondition
    ? dropConditions(model, batch.labels, beside(tensor(dropped, 'bool'), batch.labels))
    : batch.labels;
  const result = gptLoss(model, {
    tokens: batch.tokens,
    condition: model.embedClasses(labels),
    patchSide,
    training: true,
    runBlock: batch.runBlock,
  });
  return { loss: result.loss, metrics: { accuracy: accuracyOf(result), patchSide } };
}

/** Next-token loss and accuracy of rows, whatever the stage: curves of all stages are comparable. */
export function measureGpt(model: Gpt, { tokens, labels, runBlock }: MeasuredBatch): Record<string, number> {
  const result = gptLoss(model, { tokens, condition: model.embedClasses(labels), patchSide: 1, runBlock });
  return { loss: result.loss.item(), accuracy: accuracyOf(result).item() };
}

/** Share of tokens that are the most likely code of their cell: scalar. */
function accuracyOf({ logits, targets }: GptLossOutput): Tensor {
  return logits.detach().argmax(-1, true).eq(targets).to('float32').mean();
}
