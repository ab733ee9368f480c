/**
 * How many tokens are masked: in training from a drawn ratio, in sampling after each step.
 *
 * Source: the released code of AutoNAT (CVPR 2024) and ENAT (NeurIPS 2024), whose counts these
 * reproduce exactly for every table in the golden set. The operation order matters: cos(pi/2 * 2/3)
 * is 0.5000000000000001 in float64, so the floor gives 128 of 256 and not 127.
 */

import { requireInteger, requireNumber } from './schedule-error.ts';

/** L, tokens per image, up to 2^24: beyond that a float32 no longer holds each count. */
const MAX_SEQ_LEN = 2 ** 24;

/** The nearest integer, halves to the even one (torch.round, numpy.round). */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5) return floor;
  if (rest > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

export interface TrainingMaskOptions {
  /** Default 1. */
  minMasked?: number;
  /** Default seqLen (AutoNAT); ENAT uses seqLen - 1, so that something is visible. */
  maxMasked?: number;
}

/**
 * Tokens masked in training for a drawn ratio in [0, 1]:
 * clamp(roundHalfEven(float32(seqLen * float32(ratio))), minMasked, maxMasked).
 */
export function trainingMaskCount(ratio: number, seqLen: number, options: TrainingMaskOptions = {}): number {
  requireNumber(ratio, 0, 1, 'the mask ratio');
  requireInteger(seqLen, 1, MAX_SEQ_LEN, 'seqLen');
  const { minMasked = 1, maxMasked = seqLen } = options;
  requireInteger(minMasked, 0, seqLen, 'minMasked');
  requireInteger(maxMasked, minMasked, seqLen, 'maxMasked');
  // The product of a 24-bit integer and a float32 is exact in float64, so this rounds once, as float32 does.
  const product = Math.fround(seqLen * Math.fround(ratio));
  return Math.min(maxMasked, Math.max(minMasked, roundHalfEven(product)));
}

/** MaskGIT's cosine schedule: the ratio still masked when the share `progress` in [0, 1] of the steps is done. */
export function cosineMaskRatio(progress: number): number {
  requireNumber(progress, 0, 1, 'the progress of the cosine schedule');
  return Math.cos((Math.PI / 2) * progress);
}

/** Tokens of ENAT masked again after step `step` of `numSteps`: floor(L * cos(pi/2 * (step+1)/T)); 0 after the last. */
export function enatMaskCount(step: number, numSteps: number, seqLen: number): number {
  requireInteger(numSteps, 1, 65536, 'numSteps');
  requireInteger(step, 0, numSteps - 1, 'step');
  requireInteger(seqLen, 1, MAX_SEQ_LEN, 'seqLen');
  return Math.floor(seqLen * cosineMaskRatio((step + 1) / numSteps));
}

/**
 * MaskGIT's and AutoNAT's bound on a wanted count: max(1, min(maskedIn - 1, wanted)), so that a step fixes at least
 * one token and masks at least one. The latter holds after the last step too and does no harm there: the tokens
 * sampled before re-masking are decoded.
 */
export function keepProgress(wanted: number, maskedIn: number): number {
  return Math.max(1, Math.min(maskedIn - 1, wanted));
}

/** Tokens of AutoNAT masked again after a step that began with `maskedIn`: keepProgress(floor(L * ratio), maskedIn). */
export function autonatMaskCount(ratio: number, maskedIn: number, seqLen: number): number {
  requireNumber(ratio, 0, 1, 'the mask ratio');
  requireInteger(seqLen, 1, MAX_SEQ_LEN, 'seqLen');
  requireInteger(maskedIn, 1, seqLen, 'maskedIn');
  return keepProgress(Math.floor(seqLen * ratio), maskedIn);
}
