/**
 * Sampling of masked token models (MaskGIT, Chang et al. 2022, in the form of AutoNAT and ENAT): every masked position
 * draws a code, the least confident of them are masked again, and the rest stay. Tokens and logits in, tokens out; no
 * model is known here, and no noise is made here.
 *
 * Two rules for "the least confident K": `sort` takes exactly K, ties by position; `threshold` (AutoNAT's) takes all that
 * are not above the K-th lowest, so that ties make it more than K in some samples. Masks are then ragged: `masked` is as
 * wide as the largest needs, and `real` tells mask tokens from the visible ones that fill the other rows.
 *
 * Shapes: B batch, L tokens, V codes, M masked tokens of a sample before the step, K after it.
 */

import { arange, type Device, full, type NoiseAddress, type Tensor, where } from '@tessera/torch';
import { drawCodes, type GuidedLogits } from './draw-codes.ts';

/** Tokens part way: which are fixed, and which of those were fixed by the last step. */
export interface MaskedTokens {
  /** [B, L] int64, the mask token at masked positions. */
  tokens: Tensor;
  /** Masked positions, ascending: [B, M] int64; undefined when none is left. */
  masked: Tensor | undefined;
  /** Positions known since the last step (at first: all known ones), ascending: [B, F] int64; undefined for none. */
  fresh: Tensor | undefined;
  /** Where masks are ragged: [B, M] bool, false at visible tokens that fill a row; `fresh` is then not told. */
  real?: Tensor | undefined;
  /** Mask tokens of the first sample; the released AutoNAT counts by it. */
  firstCount: number;
}

/** What a step needs beside logits; temperatures are those of this step, any floor already applied. */
export interface StepSettings {
  sampleTemperature: number;
  choiceTemperature: number;
  /** K, 0..M; 0 fixes everything. */
  remaskCount: number;
  /** Default `sort`. */
  remask?: 'sort' | 'threshold';
  /**
   * With `threshold`, ties make the shape of what follows depend on values. `report` breaks them by position instead and
   * says in `tied` that there were some, so that nothing waits for a device. Default `ragged`.
   */
  ties?: 'ragged' | 'report';
}

export interface StepNoise {
  /** Exp(1) of the masked positions, [B, M, V] float32, or where it is found: see drawCodes. */
  exponential: Tensor | NoiseAddress;
  /** Standard Gumbel of the masked positions, [B, M] float64; not read where K is 0 or `ranks` decide. */
  gumbel?: Tensor | undefined;
  /** A fixed order instead of confidence: rank of each position, [L] float32; the highest are masked again. */
  ranks?: Tensor | undefined;
}

/** Everything masked. */
export function allMasked(batch: number, seqLen: number, maskToken: number, device: Device = 'cpu'): MaskedTokens {
  const tokens = full([batch, seqLen], maskToken, { dtype: 'int64', device });
  const masked = arange(0, seqLen, 1, { device }).unsqueeze(0).expand([batch, seqLen]).contiguous();
  return { tokens, masked, fresh: undefined, firstCount: seqLen };
}

/**
 * Some tokens known, the rest masked.
 *
 * @param tokens [B, L] int64; what stands at masked positions is not read
 * @param mask [B, L] bool, true where masked
 * @param count mask tokens of a sample, equal in all
 */
export function partlyMasked(tokens: Tensor, mask: Tensor, count: number, maskToken: number): MaskedTokens {
  const seqLen = tokens.size(1);
  const order = mask.logicalNot().argsort({ stable: true }); // masked first, each part ascending
  const part = (start: number, length: number) => (length === 0 ? undefined : order.narrow(1, start, length));
  return {
    tokens: tokens.maskedFill(mask, maskToken),
    masked: part(0, count),
    fresh: part(count, seqLen - count),
    firstCount: count,
  };
}

/**
 * One step.
 *
 * @param logits [B, M, V] float32, of the masked positions in their order
 * @returns `sampled`: [B, L] with every position filled; `next`: the state after masking again; `tied`: with ties
 *   reported, whether there were some, a bool scalar
 */
export function maskedStep(
  state: MaskedTokens,
  logits: GuidedLogits,
  settings: StepSettings,
  noise: StepNoise,
  maskToken: number,
): { sampled: Tensor; next: MaskedTokens; tied?: Tensor } {
  const { tokens, masked, real } = state;
  if (masked === undefined) throw new RangeError('maskedStep: expected masked tokens, none are left');
  const { codes: drawn, logProbabilities } = drawCodes(logits, settings.sampleTemperature, noise.exponential); // [B, M]
  const filled = real === undefined ? drawn : where(real, drawn, tokens.gather(1, masked));
  const sampled = tokens.scatter(1, masked, filled); // [B, L]
  const { remaskCount, remask = 'sort', ties = 'ragged' } = settings;
  if (remaskCount === 0) {
    return { sampled, next: { tokens: sampled, masked: undefined, fresh: masked, firstCount: 0 } };
  }
  let confidence = confidenceOf(logProbabilities, masked, settings, noise);
  if (real !== undefined) confidence = confidence.maskedFill(real.logicalNot(), Number.POSITIVE_INFINITY);
  const choice = { sampled, masked, confidence, maskToken };
  if (remask === 'threshold' && ties === 'report') {
    return { sampled, next: lowest(choice, remaskCount), tied: hasTies(confidence, remaskCount) };
  }
  const next = remask === 'sort' ? undefined : thresholdIfTied(choice, real, remaskCount);
  return { sampled, next: next ?? lowest(choice, remaskCount) };
}

/** [B, M] float32; the lowest are masked again. */
function confidenceOf(
  logProbabilities: Tensor,
  masked: Tensor,
  { choiceTemperature }: StepSettings,
  { gumbel, ranks }: StepNoise,
): Tensor {
  if (ranks !== undefined)
    return ranks
      .neg()
      .unsqueeze(0)
      .expand([masked.size(0), -1])
      .gather(1, masked);
  // The noise is rounded to float32 once.
  return gumbel === undefined ? logProbabilities : logProbabilities.add(gumbel.mul(choiceTemperature).to('float32'));
}

interface Choice {
  sampled: Tensor;
  masked: Tensor;
  confidence: Tensor;
  maskToken: number;
}

/** Exactly `count` of each sample. */
function lowest({ sampled, masked, confidence, maskToken }: Choice, count: number): MaskedTokens {
  const order = confidence.argsort({ stable: true }); // [B, M], least confident first
  const numFixed = masked.size(1) - count;
  const again = masked.gather(1, order.narrow(1, 0, count)).sort()[0]; // [B, K]
  const fresh = numFixed === 0 ? undefined : masked.gather(1, order.narrow(1, count, numFixed)).sort()[0]; // [B, M - K]
  return { tokens: sampled.scatterValue(1, again, maskToken), masked: again, fresh, firstCount: count };
}

/** Whether in some sample more than `count` are not above the `count`-th lowest: bool scalar. */
function hasTies(confidence: Tensor, count: number): Tensor {
  const cut = confidence.kthvalue(count, -1, true)[0];
  return confidence.le(cut).sum([1]).gt(count).any();
}

/** All that are not above the `count`-th lowest; undefined where that is exactly `count` in every sample. */
function thresholdIfTied(choice: Choice, real: Tensor | undefined, count: number): MaskedTokens | undefined {
  const { sampled, masked, confidence, maskToken } = choice;
  const cut = confidence.kthvalue(count, -1, true)[0]; // [B, 1]
  const below = confidence.le(cut);
  const again = real === undefined ? below : below.logicalAnd(real); // a known token is never masked again
  const counts = again.to('int64').sum([1]).toNumbers();
  if (counts.every((n) => n === count)) return undefined;
  const widest = Math.max(...counts);
  const order = confidence.argsort({ stable: true }).narrow(1, 0, widest);
  const [positions, byPosition] = masked.gather(1, order).sort();
  const realNext = again.gather(1, order).gather(1, byPosition);
  const kept = sampled.gather(1, positions);
  return {
    tokens: sampled.scatter(1, positions, where(realNext, kept.fullLike(maskToken), kept)),
    masked: positions,
    fresh: undefined,
    real: realNext,
    firstCount: counts[0]!,
  };
}
