/** Conditions of a GPT as its sessions and losses want them, with the unconditional half of guidance. */

import { cat, type Tensor, where } from '@tessera/torch';
import type { SequenceCondition } from './family.ts';
import type { Gpt } from './gpt.ts';

export class ConditionError extends Error {
  readonly code = 'CONDITION';

  constructor(message: string) {
    super(message);
    this.name = 'ConditionError';
  }
}

/** Labels replaced by the null label where `dropped` is true: labels — [B] int64; dropped — [B] bool. */
export function dropConditions(model: Gpt, labels: Tensor, dropped: Tensor): Tensor {
  return where(dropped, labels.fullLike(model.nullLabel), labels);
}

/** labels — [B] int64; guided: the null class for all follows, [2B, 1, D]. */
export function classCondition(model: Gpt, labels: Tensor, guided: boolean): SequenceCondition {
  if (guided) checkGuidance(model);
  const rows = guided ? cat([labels, labels.fullLike(model.nullLabel)]) : labels;
  return { embedded: model.embedClasses(rows), visible: undefined };
}

/**
 * Captions as text features: zeros first, the text at the end.
 *
 * @param features [B, T, captionDim] float32
 * @param visible [B, T], 1 where there is text
 * @param guided the null caption for all follows, with the same positions visible: [2B, T, D]
 */
export function captionCondition(model: Gpt, features: Tensor, visible: Tensor, guided: boolean): SequenceCondition {
  const { caption } = model.config;
  const wanted = `[B, ${caption?.numTokens}, ${caption?.dim}]`;
  if (features.size(1) !== caption?.numTokens || features.size(2) !== caption.dim) {
    throw new ConditionError(`Expected text features ${wanted}, got [${features.shape.join(', ')}].`);
  }
  const shown = visible.to('bool');
  if (!guided) return { embedded: model.embedCaptions(features), visible: shown };
  checkGuidance(model);
  const none = model.nullCaption.unsqueeze(0).expandAs(features);
  return { embedded: model.embedCaptions(cat([features, none])), visible: cat([shown, shown]) };
}

function checkGuidance(model: Gpt): void {
  if (model.hasNullCondition) return;
  throw new ConditionError(
    'This model was trained without dropping its condition, so it has no unconditional branch: use a guidance scale of 1.',
  );
}
