/**
 * From what a user says of a run's length and rates to optimizer steps, once, at the top: steps, epochs or images; one
 * rate curve; the stages of next-patch prediction. Stages end at whole epochs where the length is in epochs, as the
 * original counts them, and at any step otherwise, so that small data sets can have coarse stages too.
 */

import {
  type LearningRate,
  learningRateSchema,
  type PatchStage,
  parseConfig,
  patchStages,
  patchStagesSchema,
  stagesInSteps,
} from '@tessera/schedule';
import { PipelineError } from './events.ts';

export const lrSchedules = ['constant', 'cosine', 'npp'] as const;
export type LrSchedule = (typeof lrSchedules)[number];

export interface ScheduleChoice {
  /** One of the three; default: 10,000 steps. */
  steps?: number | undefined;
  epochs?: number | undefined;
  images?: number | undefined;
  globalBatch: number;
  /** Default `constant`. */
  lrSchedule?: LrSchedule | undefined;
  learningRate: number;
  /** What the decay of `npp` aims at. Default: a tenth of the rate. */
  endLr?: number | undefined;
  /** Of the run, or with `npp` of each stage. */
  warmupSteps?: number | undefined;
  /** The same in epochs; with `npp` and a length in epochs the default is 1. */
  warmupEpochs?: number | undefined;
  /** Of `npp`: share of a stage that decays. Default 0.2. */
  decayRatio?: number | undefined;
  /** Stages from coarse to fine cells; 1 = plain next-token prediction. */
  patchLevel?: number | undefined;
  /** Share of a stage's end at which the stage before it ends. Default 0.5. */
  epochRate?: number | undefined;
}

export interface ResolvedSchedule {
  totalSteps: number;
  learningRate: LearningRate;
  /** In optimizer steps, coarse to fine; the last ends with the run. */
  stages: PatchStage[];
}

const DEFAULT_STEPS = 10_000;

/** @param numItems images of the data set */
export function resolveSchedule(choice: ScheduleChoice, numItems: number): ResolvedSchedule {
  const { globalBatch, epochs, warmupEpochs, lrSchedule = 'constant', learningRate: base } = choice;
  const stepsPerEpoch = Math.floor(numItems / globalBatch);
  if (stepsPerEpoch === 0 && (epochs !== undefined || warmupEpochs !== undefined)) {
    throw new PipelineError(
      'OPTIONS',
      `The data set has ${numItems} images, fewer than one step of ${globalBatch}: give the length in steps, or a smaller --global-batch.`,
    );
  }
  const totalSteps = stepsOf(choice, stepsPerEpoch);
  const plan = parseConfig(
    patchStagesSchema,
    { patchLevel: choice.patchLevel ?? 1, ...(choice.epochRate === undefined ? {} : { epochRate: choice.epochRate }) },
    'patch levels',
  );
  const stages =
    epochs === undefined ? patchStages(plan, totalSteps) : stagesInSteps(patchStages(plan, epochs), stepsPerEpoch);
  const warmupSteps =
    warmupEpochs !== undefined
      ? Math.round(warmupEpochs * stepsPerEpoch)
      : (choice.warmupSteps ?? (lrSchedule === 'npp' && epochs !== undefined ? stepsPerEpoch : 0));
  const curves = {
    constant: { kind: 'constant', base, warmupSteps },
    cosine: { kind: 'cosine', base, warmupSteps, totalSteps },
    npp: {
      kind: 'stages',
      base,
      end: choice.endLr ?? base / 10,
      warmupSteps,
      decayRatio: choice.decayRatio ?? 0.2,
      boundaries: stages.map(({ end }) => end),
      exactOriginal: epochs !== undefined,
    },
  };
  return { totalSteps, learningRate: parseConfig(learningRateSchema, curves[lrSchedule], 'learning rate'), stages };
}

function stepsOf({ steps, epochs, images, globalBatch }: ScheduleChoice, stepsPerEpoch: number): number {
  if ([steps, epochs, images].filter((length) => length !== undefined).length > 1) {
    throw new PipelineError(
      'OPTIONS',
      'Expected the length of the run in one of steps, epochs and images, got several.',
    );
  }
  if (epochs !== undefined) return epochs * stepsPerEpoch;
  if (images === undefined) return steps ?? DEFAULT_STEPS;
  if (images >= globalBatch) return Math.floor(images / globalBatch);
  throw new PipelineError('OPTIONS', `Expected at least one step of ${globalBatch} images, got ${images} images.`);
}

/** The stages that run, as a person reads them: `patches of 2x2 tokens to step 500, 1x1 to step 1000`. */
export function describeStages(stages: readonly PatchStage[]): string {
  const run = stages.filter(({ end }, i) => end > (stages[i - 1]?.end ?? 0));
  return `patches of ${run.map(({ patchSide, end }) => `${patchSide}x${patchSide} tokens to step ${end}`).join(', ')}`;
}
