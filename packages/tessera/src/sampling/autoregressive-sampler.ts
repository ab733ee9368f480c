/**
 * Sampling of the next token (LlamaGen; reference §4.2): guidance, temperature, top-k, top-p, then a draw. Logits in,
 * tokens out; no model is known here, and no noise is made here.
 *
 * A draw is argmax(p / e) with e ~ Exp(1), which picks code j with probability p_j; a recorded or counter-based e makes
 * a run repeatable. Ties at the k-th largest logit all survive. Shapes: B batch, V codes.
 */

import { parseConfig, strictConfig } from '@tessera/schedule';
import { cat, type Tensor } from '@tessera/torch';
import { z } from 'zod';

export const autoregressiveSettingsSchema = strictConfig({
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
});

export type AutoregressiveSettings = z.output<typeof autoregressiveSettingsSchema>;
export type AutoregressiveSettingsInput = z.input<typeof autoregressiveSettingsSchema>;

export function autoregressiveSettings(input: AutoregressiveSettingsInput = {}): AutoregressiveSettings {
  return parseConfig(autoregressiveSettingsSchema, input, 'sampling settings');
}

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
  return uncond.add(cond.sub(uncond).mul(guidanceScale));
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
  return filterLogits(logits, settings).softmax(-1).div(exponential).argmax(-1);
}

/** Removes a code when those before it, in descending order, together already have more than topP. */
function keepNucleus(logits: Tensor, topP: number): Tensor {
  const [sorted, order] = logits.sort({ descending: true });
  const over = sorted.softmax(-1).cumsum(-1).gt(topP); // with the code itself
  const first = over.narrow(-1, 0, 1).zerosLike(); // nothing comes before the first
  const removed = cat([first, over.narrow(-1, 0, over.size(-1) - 1)], -1);
  return logits.maskedFill(over.scatter(-1, order, removed), Number.NEGATIVE_INFINITY);
}
