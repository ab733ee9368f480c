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

/**
 * The schedule of next-patch prediction (arXiv 2412.15321; reference §5.5): each stage warms up from 0, stays, and falls
 * in a straight line over its last part. The next stage starts at 0 again. A warm-up longer than its stage is all of it.
 */
export const stagesLearningRateSchema = strictConfig({
  kind: z.literal('stages'),
  /** The rate between warm-up and decay. */
  base,
  /** What the decay aims at. */
  end: base,
  /** W of each stage; 0 = none. */
  warmupSteps: steps.default(0),
  /** Share of a stage's steps that decay, in [0, 1]. */
  decayRatio: z.number().min(0).max(1).default(0.2),
  /** Steps at which the stages end, ascending; a stage of no length is passed over. */
  boundaries: z.array(steps).min(1).max(64),
  /** As the original: the first step of a stage has rate 0, and past the last stage the rate is base squared. */
  exactOriginal: z.boolean().default(false),
}).refine((curve) => curve.boundaries.every((end, i) => i === 0 || end >= curve.boundaries[i - 1]!), {
  path: ['boundaries'],
  message: 'expected ascending steps',
});

export type StagesLearningRate = z.output<typeof stagesLearningRateSchema>;

export const learningRateSchema = z.discriminatedUnion('kind', [
  constantLearningRateSchema,
  cosineLearningRateSchema,
  stagesLearningRateSchema,
]);

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
    case 'stages':
      return stagesRateAt(curve, step);
    default:
      return curve satisfies never;
  }
}

function stagesRateAt(curve: StagesLearningRate, step: number): number {
  const { base, end, warmupSteps, decayRatio, boundaries, exactOriginal } = curve;
  // The last stage that has begun: a stage begins where the one before it ends.
  const index = boundaries.slice(0, -1).filter((boundary) => boundary <= step).length;
  const start = index === 0 ? 0 : boundaries[index - 1]!;
  const stop = boundaries[index]!;
  const done = step - start + (exactOriginal ? 0 : 1);
  if (step - start < warmupSteps) return base * (done / warmupSteps);
  if (step >= stop) return exactOriginal ? base * base : end;
  const decayStart = stop - decayRatio * (stop - start); // not rounded
  if (step < decayStart) return base;
  return end + (base - end) * (1 - (step - decayStart) / (stop - decayStart));
}
