/**
 * A sampling strategy of a masked generator: what each step re-masks, how hot, how guided.
 *
 * One data type for ENAT's formulas, MaskGIT's cosine schedule and AutoNAT's searched lists, so
 * that a sampler, a search and a browser read the same thing. `guidanceScale` is s in
 * uncond + s * (cond - uncond), 1 = off; sources that hold w in cond + w * (cond - uncond) are
 * converted where they are read: s = 1 + w. The named strategies are in named-strategies.ts.
 */

import { z } from 'zod';
import { keepProgress } from './mask-count.ts';
import { requireInteger, ScheduleError } from './schedule-error.ts';
import { parseConfig, strictConfig } from './strict-config.ts';

/** Highest number of steps: the noise layout holds a step in 16 bits. */
export const MAX_STEPS = 65536;

const temperature = z.number().min(0).max(1e6);

export const strategyStepSchema = strictConfig({
  /** Share of all L tokens masked again after the step: floor(L * maskRatio); [0, 1]. */
  maskRatio: z.number().min(0).max(1).optional(),
  /** The same as an absolute count, for one L only. Exactly one of the two is given. */
  maskCount: z.int().min(0).optional(),
  /** Divides the logits before sampling; >= 0, raised to `sampleTemperatureFloor` in use. */
  sampleTemperature: temperature,
  /** Factor of the Gumbel noise on the confidence; 0 = none. */
  choiceTemperature: temperature,
  /** s in uncond + s * (cond - uncond); 1 = off. */
  guidanceScale: z.number().min(-1e6).max(1e6),
}).refine((step) => (step.maskRatio === undefined) !== (step.maskCount === undefined), {
  message: 'expected exactly one of maskRatio and maskCount',
});

/** Where settings come from, such as a search: model, objective, budget, seed. For people and for the record; samplers do not read it. */
export const provenanceSchema = z.record(
  z.string().max(100),
  z.union([z.string().max(10_000), z.number(), z.boolean()]),
);

export type Provenance = z.output<typeof provenanceSchema>;

export const strategySchema = strictConfig({
  formatVersion: z.literal(1).default(1),
  /** Number of network evaluations per image, T. */
  numSteps: z.int().min(1).max(MAX_STEPS),
  /** `sort`: the k lowest confidences are masked; `threshold`: all at or below the k-th lowest (AutoNAT; ties mask more). */
  remask: z.enum(['sort', 'threshold']),
  /** What decides which tokens stay: the model's confidence, or a fixed order that spreads them out (halton.ts). */
  order: z.enum(['confidence', 'halton']).default('confidence'),
  /** Steps whose |guidanceScale - 1| is below this run without guidance, at half the cost; 0 = none but those at 1. */
  skipGuidanceBelow: z.number().min(0).max(1e6).default(0),
  /** `true`: each step fixes at least one token and masks at least one (MaskGIT, AutoNAT); `false`: the floor alone (ENAT). */
  keepProgress: z.boolean(),
  /** Lower bound of the sampling temperature in use: 1e-3 in ENAT, 1e-4 in AutoNAT. */
  sampleTemperatureFloor: z.number().min(1e-6).max(1).default(1e-3),
  steps: z.array(strategyStepSchema).min(1).max(MAX_STEPS),
  provenance: provenanceSchema.optional(),
}).superRefine((strategy, context) => {
  if (strategy.steps.length !== strategy.numSteps) {
    context.addIssue({
      code: 'custom',
      path: ['steps'],
      message: `expected ${strategy.numSteps} steps (numSteps), got ${strategy.steps.length}`,
    });
  }
});

export type StrategyStep = z.output<typeof strategyStepSchema>;
export type Strategy = z.output<typeof strategySchema>;

/** Checks a strategy as read from YAML or JSON; throws a ScheduleError that names the place. */
export function parseStrategy(value: unknown, what = 'strategy'): Strategy {
  return parseConfig(strategySchema, value, what);
}

export interface MaskCounts {
  /** Masked tokens in the network's input at each step — [T]; the first is L. */
  maskedIn: number[];
  /** Tokens masked again after each step — [T]; after the last step it has no effect on the image. */
  remasked: number[];
  /** Tokens fixed by each step — [T], summing to L: the last step fixes all that were left. */
  newlyFixed: number[];
}

/**
 * Tokens masked again after step `index` that began with `maskedIn` masked ones, of `seqLen` = L.
 * Samplers whose ties may mask more than asked (threshold) call this with the count they really have.
 */
export function remaskCount(strategy: Strategy, index: number, maskedIn: number, seqLen: number): number {
  requireInteger(index, 0, strategy.steps.length - 1, 'the step of the strategy');
  requireInteger(maskedIn, 0, seqLen, 'maskedIn');
  const { maskCount, maskRatio = 0 } = strategy.steps[index]!;
  if (maskCount !== undefined && maskCount > seqLen) {
    throw new ScheduleError(
      'argument-out-of-range',
      `Expected maskCount of step ${index} to be at most ${seqLen} (tokens of an image), got ${maskCount}; maskRatio works for any size`,
    );
  }
  const wanted = maskCount ?? Math.floor(seqLen * maskRatio);
  // Visible tokens are never masked again, whatever the strategy says: temporal reuse depends on it.
  return strategy.keepProgress ? keepProgress(wanted, maskedIn) : Math.min(maskedIn, wanted);
}

/** The token counts of a strategy for images of `seqLen` = L tokens. */
export function maskCounts(strategy: Strategy, seqLen: number): MaskCounts {
  requireInteger(seqLen, 1, 2 ** 24, 'seqLen');
  const counts: MaskCounts = { maskedIn: [], remasked: [], newlyFixed: [] };
  let maskedIn = seqLen;
  for (let index = 0; index < strategy.numSteps; index++) {
    const remasked = remaskCount(strategy, index, maskedIn, seqLen);
    const last = index === strategy.numSteps - 1;
    counts.maskedIn.push(maskedIn);
    counts.remasked.push(remasked);
    counts.newlyFixed.push(last ? maskedIn : maskedIn - remasked);
    maskedIn = remasked;
  }
  return counts;
}

/** One step as a sampler uses it: counts for this L, the temperature floored, hardly any guidance made none. */
export interface ResolvedStep {
  maskedIn: number;
  remasked: number;
  newlyFixed: number;
  sampleTemperature: number;
  choiceTemperature: number;
  guidanceScale: number;
}

/** All steps of a strategy for images of `seqLen` tokens — [T]. */
export function resolveSteps(strategy: Strategy, seqLen: number): ResolvedStep[] {
  const counts = maskCounts(strategy, seqLen);
  return strategy.steps.map((step, index) => ({
    maskedIn: counts.maskedIn[index]!,
    remasked: counts.remasked[index]!,
    newlyFixed: counts.newlyFixed[index]!,
    sampleTemperature: Math.max(step.sampleTemperature, strategy.sampleTemperatureFloor),
    choiceTemperature: step.choiceTemperature,
    guidanceScale: Math.abs(step.guidanceScale - 1) < strategy.skipGuidanceBelow ? 1 : step.guidanceScale,
  }));
}

/**
 * The same strategy for filling in `count` of `seqLen` tokens, the others being known from the start: shares are shares of
 * what is to be filled in (as in MaskGIT's inpainting), counts become shares.
 */
export function forPartOf(strategy: Strategy, count: number, seqLen: number): Strategy {
  if (count === seqLen) return strategy;
  const steps = strategy.steps.map(({ maskCount, ...step }) =>
    maskCount === undefined ? step : { ...step, maskRatio: Math.min(1, maskCount / seqLen) },
  );
  return { ...strategy, steps };
}
