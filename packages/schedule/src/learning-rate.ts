/**
 * Learning rate at a step, as a pure function: resuming needs no scheduler state.
 *
 * Warm-up is linear, step s of W using (s+1)/W of the base, so no step is wasted at 0 and the base
 * is reached at s = W - 1. AutoNAT's and ENAT's own trainers step their scheduler with a counter
 * that lags: their steps 0 and 1 both use 0, then 1/W, 2/W, ...; `exactOriginal` reproduces that
 * (the Adam moments still move in the two zero steps). Decay: Loshchilov & Hutter (ICLR 2017),
 * one half cosine without restarts.
 */

import { z } from 'zod';
import { requireInteger } from './schedule-error.ts';
import { strictConfig } from './strict-config.ts';

const base = z.number().min(0).max(1e3);
const steps = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const constantLearningRateSchema = strictConfig({
  kind: z.literal('constant'),
  /** The rate after the warm-up. */
  base,
  /** W; 0 = none. */
  warmupSteps: steps.default(0),
  /** AutoNAT's lagging counter: base * min(1, max(0, s - 1) / W). */
  exactOriginal: z.boolean().default(false),
});

export const cosineLearningRateSchema = strictConfig({
  kind: z.literal('cosine'),
  /** The rate at the top, reached at the end of the warm-up. */
  base,
  /** W; 0 = none. */
  warmupSteps: steps.default(0),
  /** The step at which the floor is reached: the length of the run, warm-up included. */
  totalSteps: steps.min(1),
  /** The rate from totalSteps on, as a share of the base, in [0, 1]. */
  floorFraction: z.number().min(0).max(1).default(0),
}).refine((curve) => curve.warmupSteps <= curve.totalSteps, {
  path: ['warmupSteps'],
  message: 'expected at most totalSteps warm-up steps',
});

export const learningRateSchema = z.discriminatedUnion('kind', [constantLearningRateSchema, cosineLearningRateSchema]);

/** A curve after parsing, every default filled in. */
export type LearningRate = z.output<typeof learningRateSchema>;

/** The learning rate in force at step `step` (from 0). */
export function learningRateAt(curve: LearningRate, step: number): number {
  requireInteger(step, 0, Number.MAX_SAFE_INTEGER, 'step');
  const warmup = curve.warmupSteps;
  switch (curve.kind) {
    case 'constant': {
      const done = curve.exactOriginal ? Math.max(0, step - 1) : step + 1;
      return done >= warmup ? curve.base : curve.base * (done / warmup);
    }
    case 'cosine': {
      if (step < warmup) return curve.base * ((step + 1) / warmup);
      const progress = Math.min(1, (step - warmup) / Math.max(1, curve.totalSteps - warmup));
      const share = (1 + Math.cos(Math.PI * progress)) / 2;
      return curve.base * (curve.floorFraction + (1 - curve.floorFraction) * share);
    }
    default:
      return curve satisfies never;
  }
}
