/**
 * Decay of the exponential moving average of the weights at a step:
 * average = decay * average + (1 - decay) * weights, done after optimizer step `step` (from 0).
 *
 * The reference systems use 0.9999 from the first step on. That remembers 10,000 steps, so in a
 * run of 2,000 the average is mostly the random initialisation. With `warmup`, the decay is
 * min(decay, (1+s)/(10+s)): the average reaches back over about the last tenth of the run so far,
 * whatever its length (a window in proportion to time, as in the power-function averages of EDM2,
 * Karras et al., CVPR 2024, section 3.1), forgets the initialisation as 1/s^9, and turns into the
 * constant where both agree: step 89,990 for 0.9999, step 8,990 for 0.999.
 */

import { z } from 'zod';
import { requireInteger } from './schedule-error.ts';
import { strictConfig } from './strict-config.ts';

export const emaSchema = strictConfig({
  /** Decay per step in the long run, in [0, 1). */
  decay: z.number().min(0).lt(1).default(0.9999),
  /** `false` is the reference systems' constant decay. */
  warmup: z.boolean().default(true),
});

export type Ema = z.output<typeof emaSchema>;

/** The decay, in [0, 1), of the update after optimizer step `step` (from 0). */
export function emaDecayAt(ema: Ema, step: number): number {
  requireInteger(step, 0, Number.MAX_SAFE_INTEGER, 'step');
  return ema.warmup ? Math.min(ema.decay, (1 + step) / (10 + step)) : ema.decay;
}
