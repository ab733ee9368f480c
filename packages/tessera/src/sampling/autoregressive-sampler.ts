/**
 * Sampling of the next token (LlamaGen; reference §4.2): guidance, temperature, top-k, top-p, then a draw. Logits in,
 * tokens out; no model is known here, and no noise is made here.
 *
 * A draw is argmax(p / e) with e ~ Exp(1), which picks code j with probability p_j; a recorded or counter-based e makes
 * a run repeatable. Ties at the k-th largest logit all survive. Shapes: B batch, V codes.
 */

import type { AutoregressiveSettings } from '@tessera/schedule';
import { cat, type Tensor } from '@tessera/torch';

/** Whether the unconditional branch is needed at all. */
export function isGuided(settings: AutoregressiveSettings): boolean {
  return settings.guidanceScale > 1;
}

/** Whether token `index` (from 0) of an image is guided; the first always is. */
export function isTokenGuided(settings: AutoregressiveSettings, index: number): boolean {
  const { guidedTokens } = settings;
  return isGuided(settings) && (index === 0 || guidedTokens === undefined || index <= guidedTokens);
}

/** uncond + s · (cond − uncond): [B, V] each. */
export function guideLogits(cond: Tensor, uncond: Tensor, guidanceScale: number): Tensor {
  // Over its own difference: fresh memory costs more than the arithmetic.
  return cond.sub(uncond).mul_(guidanceScale).add_(uncond);
}

/** Temperature, top-k and top-p in this order: removed codes get −∞. logits — [B, V] float32; returns the same shape. */
export function filterLogits(logits: Tensor, settings: AutoregressiveSettings): Tensor {
  const { temperature, topK, topP } = settings;
  let kept = temperature === 1 ? logits : logits.div(Math.max(temperature, 1e-5));
  if (topK > 0 && topK < logits.size(-1)) {
    const smallest = kept.topk(topK)[0].narrow(-1, topK - 1, 1); // [B, 1]
    kept = kept.maskedFill(kept.lt(smallest), Number.NEGATIVE_INFINITY);
  }
  return topP < 1 ? keepNucleus(kept, topP) : kept;
}

/** Tokens [B] int64. exponential — Exp(1) noise [B, V]; not needed for greedy settings. */
export function pickTokens(logits: Tensor, settings: AutoregressiveSettings, exponential: Tensor | undefined): Tensor {
  // Filters keep the most likely code, so greedy needs none of them.
  if (settings.greedy) return logits.argmax(-1);
  if (exponential === undefined) throw new RangeError('pickTokens: a draw needs noise, got none');
  return filterLogits(logits, settings).softmax(-1).div_(exponential).argmax(-1);
}

/** Removes a code when those before it, in descending order, together already have more than topP. */
function keepNucleus(logits: Tensor, topP: number): Tensor {
  const [sorted, order] = logits.sort({ descending: true });
  const over = sorted.softmax(-1).cumsum(-1).gt(topP); // with the code itself
  const first = over.narrow(-1, 0, 1).zerosLike(); // nothing comes before the first
  const removed = cat([first, over.narrow(-1, 0, over.size(-1) - 1)], -1);
  return logits.maskedFill(over.scatter(-1, order, removed), Number.NEGATIVE_INFINITY);
}
