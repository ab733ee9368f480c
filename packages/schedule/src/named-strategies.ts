/**
 * Strategies by name: ENAT's formulas, MaskGIT's cosine schedule, AutoNAT's start and its searched lists.
 *
 * Sources: released code of ENAT (NeurIPS 2024) and AutoNAT (CVPR 2024); MaskGIT (Chang et al.,
 * CVPR 2022, section 3.3). With rho = (i+1)/T after step i of T:
 *
 *   ENAT     ratio cos(pi/2 rho)   choice c (1 - rho)    sample max(t (1 - rho), 1e-3)   w = w_max i/T
 *   MaskGIT  ratio cos(pi/2 rho)   choice c (1 - rho)    sample t                        w constant
 *   AutoNAT  lists; at first ratio cos(pi/2 rho), choice 1 - i/T, sample 1, w = rho
 *
 * Arguments and results hold s = 1 + w; only fromAutonatYaml takes w, as the official files do.
 */

import { z } from 'zod';
import { cosineMaskRatio } from './mask-count.ts';
import { requireInteger, ScheduleError } from './schedule-error.ts';
import { MAX_STEPS, parseStrategy, type Strategy, type StrategyStep } from './strategy.ts';
import { parseConfig, strictConfig } from './strict-config.ts';

/** Lower bounds of the sampling temperature in the two official samplers. */
export const SAMPLE_TEMPERATURE_FLOOR = { enat: 1e-3, autonat: 1e-4 } as const;

export interface EnatStrategyOptions {
  numSteps: number;
  /** s at rho = 1; step i uses 1 + (s - 1) i / T, so the first step is unguided. Default 1 (off). */
  guidanceScale?: number;
  /** Gumbel noise on the confidence before the decay 1 - rho. Default 1.5. */
  choiceTemperature?: number;
  /** Temperature of the logits before the decay 1 - rho. Default 6. */
  sampleTemperature?: number;
  /** Default 1e-3. */
  sampleTemperatureFloor?: number;
}

/** The published settings of ENAT-L by image size. */
export const ENAT_PRESETS = {
  256: { numSteps: 8, guidanceScale: 3.5, choiceTemperature: 1.5, sampleTemperature: 6 },
  512: { numSteps: 8, guidanceScale: 4.5, choiceTemperature: 1.5, sampleTemperature: 4 },
} as const satisfies Record<number, EnatStrategyOptions>;

export function enatStrategy(options: EnatStrategyOptions): Strategy {
  const { numSteps, guidanceScale = 1, choiceTemperature = 1.5, sampleTemperature = 6 } = options;
  return build('enatStrategy', numSteps, {
    remask: 'sort',
    keepProgress: false,
    sampleTemperatureFloor: options.sampleTemperatureFloor ?? SAMPLE_TEMPERATURE_FLOOR.enat,
    step: (i) => ({
      maskRatio: ratioAfter(i, numSteps),
      sampleTemperature: sampleTemperature * (1 - (i + 1) / numSteps),
      choiceTemperature: choiceTemperature * (1 - (i + 1) / numSteps),
      guidanceScale: 1 + (guidanceScale - 1) * (i / numSteps),
    }),
  });
}

export interface CosineStrategyOptions {
  numSteps: number;
  /** s at every step. Default 1 (off): MaskGIT has no guidance. */
  guidanceScale?: number;
  /** Gumbel noise on the confidence before the decay 1 - rho. Default 4.5, MaskGIT's. */
  choiceTemperature?: number;
  /** Temperature of the logits at every step. Default 1. */
  sampleTemperature?: number;
  /** Default 1e-3. */
  sampleTemperatureFloor?: number;
}

export function cosineStrategy(options: CosineStrategyOptions): Strategy {
  const { numSteps, guidanceScale = 1, choiceTemperature = 4.5, sampleTemperature = 1 } = options;
  return build('cosineStrategy', numSteps, {
    remask: 'sort',
    keepProgress: true,
    sampleTemperatureFloor: options.sampleTemperatureFloor ?? SAMPLE_TEMPERATURE_FLOOR.enat,
    step: (i) => ({
      maskRatio: ratioAfter(i, numSteps),
      sampleTemperature,
      choiceTemperature: choiceTemperature * (1 - (i + 1) / numSteps),
      guidanceScale,
    }),
  });
}

/** Where AutoNAT's search starts. */
export function autonatInitialStrategy(numSteps: number): Strategy {
  return build('autonatInitialStrategy', numSteps, {
    remask: 'threshold',
    keepProgress: true,
    sampleTemperatureFloor: SAMPLE_TEMPERATURE_FLOOR.autonat,
    step: (i) => ({
      maskRatio: ratioAfter(i, numSteps),
      sampleTemperature: 1,
      choiceTemperature: i === numSteps - 1 ? 0 : 1 - i / numSteps,
      guidanceScale: 1 + (i + 1) / numSteps,
    }),
  });
}

/** The released result of AutoNAT's search for AutoNAT-L at T = 8 (three guidance values lie on the search's clamp). */
const AUTONAT_L_T8 = {
  manual_ratios: [
    0.9531645174140464, 0.8795409806037042, 0.7940230737075623, 0.745995860948045, 0.6249785820461957,
    0.407321956652571, 0.260658917067054,
  ],
  manual_temp: [
    2.404912789740805, 2.477616274962803, 1.191696577294597, 0.7685444738649722, 1.0673489052089495, 0.9353720330515827,
    0.7843839537838292,
  ],
  manual_samp_temp: [
    2.8999037830310685, 1.867261830931786, 1.1443729673819831, 1.3796334226014182, 1.4699896959810144,
    1.3760684112198358, 1.7082165405200722, 0.7133060703601533,
  ],
  manual_cfg: [
    0.0001, 0.0001, 0.0001, 0.9151274967591447, 1.6160182878189675, 1.1945509026838659, 1.38322370140345,
    1.22678520936251,
  ],
};

/** Its first three steps have a guidance of w = 1e-4, which changes nothing that can be seen: they run unguided. */
export function autonatSearched8(): Strategy {
  return { ...fromAutonatYaml(AUTONAT_L_T8, 'autonatSearched8'), skipGuidanceBelow: 1e-3 };
}

export interface HaltonStrategyOptions {
  numSteps: number;
  /** s at every step. Default 1 (off). */
  guidanceScale?: number;
  /** Temperature of the logits at every step. Default 1. */
  sampleTemperature?: number;
}

/**
 * Tokens in the order of a Halton sequence, without regard to confidence (Besnier et al. 2025, arXiv 2503.17076). As many
 * at a step as the authors' sampler takes, by the arccos schedule, to within one: it rounds the tokens revealed down,
 * here the masked ones are. It reveals evenly at first, and many at the last steps.
 */
export function haltonStrategy(options: HaltonStrategyOptions): Strategy {
  const { numSteps, guidanceScale = 1, sampleTemperature = 1 } = options;
  const strategy = build('haltonStrategy', numSteps, {
    remask: 'sort',
    keepProgress: true,
    sampleTemperatureFloor: SAMPLE_TEMPERATURE_FLOOR.enat,
    step: (i) => ({
      maskRatio: Math.acos((i + 1) / numSteps) / (Math.PI / 2), // 0 after the last
      sampleTemperature,
      choiceTemperature: 0,
      guidanceScale,
    }),
  });
  return { ...strategy, order: 'halton' };
}

const values = z.array(z.number()).max(MAX_STEPS);
const autonatYamlSchema = strictConfig({
  /** Share of tokens masked again after step i — [T-1]; the last step re-masks nothing. */
  manual_ratios: values,
  /** Choice temperature — [T-1]; 0 at the last step. */
  manual_temp: values,
  /** Sample temperature — [T]. */
  manual_samp_temp: values.min(1),
  /** w in cond + w * (cond - uncond) — [T]. */
  manual_cfg: values,
});

/** A strategy from the parsed content of AutoNAT's yaml file; `what` names it in errors. */
export function fromAutonatYaml(content: unknown, what = 'AutoNAT strategy'): Strategy {
  const lists = parseConfig(autonatYamlSchema, content, what);
  const numSteps = lists.manual_samp_temp.length;
  for (const [key, expected] of [
    ['manual_ratios', numSteps - 1],
    ['manual_temp', numSteps - 1],
    ['manual_cfg', numSteps],
  ] as const) {
    if (lists[key].length !== expected) {
      throw new ScheduleError(
        'config-invalid',
        `${what}: expected ${expected} values in ${key} (manual_samp_temp has ${numSteps}), got ${lists[key].length}`,
      );
    }
  }
  return build(what, numSteps, {
    remask: 'threshold',
    keepProgress: true,
    sampleTemperatureFloor: SAMPLE_TEMPERATURE_FLOOR.autonat,
    step: (i) => ({
      maskRatio: lists.manual_ratios[i] ?? 0,
      sampleTemperature: lists.manual_samp_temp[i]!,
      choiceTemperature: lists.manual_temp[i] ?? 0,
      guidanceScale: 1 + lists.manual_cfg[i]!,
    }),
  });
}

/** cos(pi/2 rho); a plain 0 after the last step, where float64 gives 6e-17. */
function ratioAfter(step: number, numSteps: number): number {
  return step === numSteps - 1 ? 0 : cosineMaskRatio((step + 1) / numSteps);
}

type Recipe = Pick<Strategy, 'remask' | 'keepProgress' | 'sampleTemperatureFloor'> & {
  step: (index: number) => StrategyStep;
};

function build(what: string, numSteps: number, { step, ...rest }: Recipe): Strategy {
  requireInteger(numSteps, 1, MAX_STEPS, 'numSteps');
  const steps = Array.from({ length: numSteps }, (_, index) => step(index));
  return parseStrategy({ formatVersion: 1, numSteps, ...rest, steps }, what);
}
