/**
 * Sampling of masked token models (MaskGIT, Chang et al. 2022, in the form of AutoNAT and ENAT): every masked position
 * draws a code, the least confident of them are masked again, and the rest stay. Tokens and logits in, tokens out; no
 * model is known here, and no noise is made here.
 *
 * Shapes: B batch, L tokens, V codes, M masked tokens of a sample before the step, K after it (equal across B).
 */

import { arange, full, type Tensor } from '@tessera/torch';

/** Tokens part way: which are fixed, and which of those were fixed by the last step. */
export interface MaskedTokens {
  /** [B, L] int64, the mask token at masked positions. */
  tokens: Tensor;
  /** Masked positions, ascending: [B, M] int64; undefined when none is left. */
  masked: Tensor | undefined;
  /** Positions fixed by the last step, ascending: [B, F] int64; undefined when none was. */
  fresh: Tensor | undefined;
}

/** What a step needs beside logits; temperatures are those of this step, any floor already applied. */
export interface StepSettings {
  sampleTemperature: number;
  choiceTemperature: number;
  /** K, 0..M. */
  remaskCount: number;
}

/** Everything masked. */
export function allMasked(batch: number, seqLen: number, maskToken: number): MaskedTokens {
  const tokens = full([batch, seqLen], maskToken, { dtype: 'int64' });
  const masked = arange(0, seqLen).unsqueeze(0).expand([batch, seqLen]).contiguous();
  return { tokens, masked, fresh: undefined };
}

/** uncond + s · (cond − uncond), written as the reference does: cond + (s − 1) · (cond − uncond). */
export function guide(cond: Tensor, uncond: Tensor, guidanceScale: number): Tensor {
  return cond.add(cond.sub(uncond).mul(guidanceScale - 1));
}

/**
 * One step.
 *
 * @param logits [B, M, V] float32, after guidance, of the masked positions in their order
 * @param exponential Exp(1) noise of the same shape: the draw is argmax(p / e), p = softmax(logits / sampleTemperature)
 * @param gumbel standard Gumbel noise of the masked positions, [B, M] float64
 * @returns `sampled`: [B, L] with every position filled; `next`: the state after masking K positions again
 */
export function maskedStep(
  state: MaskedTokens,
  logits: Tensor,
  settings: StepSettings,
  exponential: Tensor,
  gumbel: Tensor,
  maskToken: number,
): { sampled: Tensor; next: MaskedTokens } {
  const { tokens, masked } = state;
  if (masked === undefined) throw new RangeError('maskedStep: expected masked tokens, none are left');
  const logProbabilities = logits.logSoftmax(-1); // [B, M, V]
  const probabilities = logProbabilities.div(settings.sampleTemperature).softmax(-1);
  const drawn = probabilities.div(exponential).argmax(-1); // [B, M]
  const sampled = tokens.scatter(1, masked, drawn); // [B, L]
  const count = masked.size(1);
  const { remaskCount } = settings;
  if (remaskCount === 0) return { sampled, next: { tokens: sampled, masked: undefined, fresh: masked } };

  // Confidence: log-probability of the drawn code at temperature 1, plus noise rounded to float32 once.
  const score = logProbabilities.gather(-1, drawn.unsqueeze(-1)).squeeze(-1);
  const confidence = score.add(gumbel.mul(settings.choiceTemperature).to('float32'));
  const order = confidence.argsort({ stable: true }); // [B, M], least confident first
  const remasked = masked.gather(1, order.narrow(1, 0, remaskCount)).sort()[0]; // [B, K]
  const fresh =
    remaskCount === count ? undefined : masked.gather(1, order.narrow(1, remaskCount, count - remaskCount)).sort()[0]; // [B, M - K]
  return { sampled, next: { tokens: sampled.scatterValue(1, remasked, maskToken), masked: remasked, fresh } };
}
