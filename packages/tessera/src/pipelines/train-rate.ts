/**
 * The learning rate of `tessera train` from its three layers: the preset's below, a file's curve above it, flags on top.
 * `--lr-schedule` chooses another curve; the file's values stay where that curve has them too.
 */

import type { LearningRate } from '@tessera/schedule';
import { PipelineError } from './events.ts';
import type { LrSchedule, ScheduleChoice } from './train-schedule.ts';

export interface RateFlags {
  lrSchedule?: LrSchedule | undefined;
  learningRate?: number | undefined;
  warmupSteps?: number | undefined;
  warmupEpochs?: number | undefined;
  endLr?: number | undefined;
  decayRatio?: number | undefined;
}

/** As a file has it: not checked yet, of kind `constant` unless it says another. */
export type FileCurve = Readonly<Record<string, unknown>>;

const KINDS: Record<LrSchedule, LearningRate['kind']> = { constant: 'constant', cosine: 'cosine', npp: 'stages' };
/** What a choice of a schedule gives by itself, from flags and file, or from the length of the run. */
const RESOLVED = ['kind', 'base', 'warmupSteps', 'end', 'decayRatio', 'totalSteps', 'boundaries'];

/** The curve of a file's `training`, empty where it has none. */
export function fileCurve(training: Readonly<Record<string, unknown>> = {}): FileCurve {
  const { learningRate = {} } = training;
  if (typeof learningRate === 'object' && learningRate !== null && !Array.isArray(learningRate)) {
    return learningRate as FileCurve;
  }
  throw new PipelineError(
    'CONFIG',
    `training.learningRate: expected a curve such as { base: 4e-4, warmupSteps: 100 }, got ${JSON.stringify(learningRate)}.`,
  );
}

/** For resolveSchedule. */
export function rateChoice(
  flags: RateFlags,
  curve: FileCurve,
  preset: { learningRate: number; warmupSteps: number },
): Pick<ScheduleChoice, 'learningRate' | 'warmupSteps' | 'endLr' | 'decayRatio'> {
  const { lrSchedule, warmupSteps, warmupEpochs, endLr, decayRatio } = flags;
  if (warmupSteps !== undefined && warmupEpochs !== undefined) {
    throw new PipelineError('OPTIONS', 'Expected the warm-up in one of --warmup-steps and --warmup-epochs, got both.');
  }
  const stray = endLr !== undefined ? '--end-lr' : decayRatio !== undefined ? '--decay-ratio' : undefined;
  if (stray !== undefined && kindOf(flags, curve) !== 'stages') {
    throw new PipelineError(
      'OPTIONS',
      `${stray} is of the decay of --lr-schedule npp, which this run does not have: add it, or leave ${stray} out.`,
    );
  }
  const of = (key: string): number | undefined => numberAt(curve, key, 'training.learningRate');
  return {
    learningRate: flags.learningRate ?? of('base') ?? preset.learningRate,
    // The stages of npp have their own default.
    warmupSteps: warmupSteps ?? of('warmupSteps') ?? (lrSchedule === 'npp' ? undefined : preset.warmupSteps),
    endLr: endLr ?? of('end'),
    decayRatio: decayRatio ?? of('decayRatio'),
  };
}

/**
 * The whole curve, for resolveTrainingConfig to check.
 *
 * @param resolved what resolveSchedule made of rateChoice
 * @param exact the lagging counter of the released trainers, in the curves that have it
 */
export function curveOf(flags: RateFlags, curve: FileCurve, resolved: LearningRate, exact: boolean): object {
  const kind = kindOf(flags, curve);
  const quirk = exact && kind !== 'cosine' ? { exactOriginal: true } : {};
  if (flags.lrSchedule !== undefined) {
    const isSameKind = (curve.kind ?? 'constant') === kind;
    const rest = Object.entries(curve).filter(([key]) => isSameKind && !RESOLVED.includes(key));
    return { ...resolved, ...Object.fromEntries(rest), ...quirk };
  }
  // The file's own length and boundaries stand.
  const { base, warmupSteps } = resolved;
  const { endLr, decayRatio } = flags;
  return {
    kind,
    ...curve,
    ...{ base, warmupSteps },
    ...(endLr === undefined ? {} : { end: endLr }),
    ...(decayRatio === undefined ? {} : { decayRatio }),
    ...quirk,
  };
}

function kindOf({ lrSchedule }: RateFlags, { kind = 'constant' }: FileCurve): unknown {
  return lrSchedule === undefined ? kind : KINDS[lrSchedule];
}

/** A number of a file's section, whose name is for errors. */
export function numberAt(
  section: Readonly<Record<string, unknown>> | undefined,
  key: string,
  name = 'training',
): number | undefined {
  const value = section?.[key];
  if (value === undefined || typeof value === 'number') return value;
  throw new PipelineError('CONFIG', `${name}.${key}: expected a number, got ${JSON.stringify(value)}.`);
}
