/**
 * The training losses of LlamaGen and of next-patch prediction (reference §3.4, §5.1–5.3). A position predicts the whole
 * next cell: cross entropy with a uniform multi-hot target, −log softmax(logits)[id] averaged over the cell's tokens. It
 * is logsumexp(logits) − mean of the cell's logits, so the logits are never repeated per token as the original does:
 * the memory of a coarse stage falls with its sequence.
 */

import { crossEntropyLoss, type Tensor } from '@tessera/torch';
import type { RunBlock } from './family.ts';
import { type Gpt, type GptProbe, prepend } from './gpt.ts';
import { averageCells, tokenCells } from './gpt-patches.ts';
import { ropeRows } from './gpt-rope.ts';

export interface GptLossInput {
  /** Every token of each image: [B, n] int64. */
  tokens: Tensor;
  /** Embedded condition, dropped conditions already replaced: [B, T, D]. */
  condition: Tensor;
  /** p; 1 is next-token prediction. */
  patchSide: number;
  /** Applies the dropouts of the configuration. */
  training?: boolean;
  /** Samples that count: [B] float32, 0 or 1; default: all. */
  valid?: Tensor | undefined;
  /** Which position may attend to which, [B, 1, S, S] bool, S = T + n / p² - 1; default causal. */
  mask?: Tensor | undefined;
  runBlock?: RunBlock | undefined;
  observe?: GptProbe | undefined;
}

export interface GptLossOutput {
  /** Scalar. */
  loss: Tensor;
  /** One row a cell: [B, n / p², V]. */
  logits: Tensor;
  /** Tokens of each cell: [B, n / p², p²]. */
  targets: Tensor;
}

export function gptLoss(model: Gpt, input: GptLossInput): GptLossOutput {
  const { tokens, condition, patchSide, valid } = input;
  const { gridSize } = model.config;
  const targets = tokenCells(tokens, gridSize, patchSide);
  const cells = targets.size(1);
  const seen = averageCells(model.embedTokens(tokens), gridSize, patchSide).narrow(1, 0, cells - 1);
  const length = condition.size(1) + cells - 1;
  const features = model.forward({
    x: prepend(condition, seen),
    rope: ropeRows(model.rope(patchSide), 0, length),
    mask: input.mask,
    training: input.training ?? false,
    runBlock: input.runBlock,
    observe: input.observe,
  });
  // The last position of the condition predicts the first cell.
  const logits = model.head(features.narrow(1, condition.size(1) - 1, cells)); // [B, n / p², V]
  return { loss: cellLoss(logits, targets, valid), logits, targets };
}

const MEAN = 1;
const NONE = 0;

/** logits — [B, P, V] float32; targets — [B, P, p²] int64; valid — [B] or none; returns a scalar. */
export function cellLoss(logits: Tensor, targets: Tensor, valid?: Tensor): Tensor {
  const perCell = targets.size(2);
  if (perCell === 1) {
    const flat = [logits.flatten(0, 1), targets.flatten()] as const;
    if (valid === undefined) return crossEntropyLoss(...flat, undefined, MEAN);
    return validMean(crossEntropyLoss(...flat, undefined, NONE).unflatten(0, targets.shape.slice(0, 2)), valid);
  }
  const each = logits.logsumexp([-1]).sub(logits.gather(-1, targets).mean([-1])); // [B, P]
  return valid === undefined ? each.mean() : validMean(each, valid);
}

/** losses — [B, P]; the mean over the positions of valid samples, 0 where there is none. */
function validMean(losses: Tensor, valid: Tensor): Tensor {
  const weights = valid.to('float32').unsqueeze(1).expandAs(losses);
  return losses.mul(weights).sum().div(weights.sum().clamp(1));
}
