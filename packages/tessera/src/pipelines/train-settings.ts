/**
 * What `tessera train` is to do, from three layers: the model's preset below, a file above it, flags on top. The result
 * is whole and checked by the family's own schemas; it is what the run folder keeps.
 */

import { readFileSync } from 'node:fs';
import { parseConfig, provenanceSchema, strictConfig } from '@tessera/schedule';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { GeneratorConfig } from '../models/family.ts';
import { type ModelPreset, modelPreset, modelPresetNames } from '../models/presets.ts';
import { type FamilyName, familyOf } from '../models/registry.ts';
import { resolveTrainingConfig, type TrainingConfig } from '../training/config.ts';
import { PipelineError } from './events.ts';
import { flagName } from './flag-name.ts';
import { fromOfficialAutonat, isOfficialAutonat } from './official/autonat-config.ts';
import { curveOf, fileCurve, numberAt, type RateFlags, rateChoice } from './train-rate.ts';
import { exactOriginal, GPT_OPTIMIZER, NAT_OPTIMIZER, trainRecipe } from './train-recipes.ts';
import { type ResolvedSchedule, resolveSchedule } from './train-schedule.ts';

/** Of the training set, for the published recipes while no data is given. */
const IMAGENET_IMAGES = 1_281_167;

const section = z.record(z.string(), z.unknown());

const trainFileSchema = strictConfig({
  /** A preset; `network` changes single fields of it. */
  model: z.enum(modelPresetNames).optional(),
  network: section.optional(),
  /** Token data sets. */
  data: z.union([z.string().transform((path) => [path]), z.array(z.string()).min(1)]).optional(),
  heldOut: z.string().optional(),
  tokenizer: z.string().optional(),
  out: z.string().optional(),
  /** Of the family: masks, label drop, smoothing, reuse. */
  recipe: section.optional(),
  /** Of the loop: steps, batch, rate, decay, averages, intervals. */
  training: section.optional(),
  recompute: z.boolean().optional(),
  shardOptimizer: z.boolean().optional(),
  shardParameters: z.boolean().optional(),
  /** Where the settings come from, such as a search; not read. */
  provenance: provenanceSchema.optional(),
});

export type TrainFile = z.output<typeof trainFileSchema>;

/** Single settings, as flags give them. */
export interface TrainFlags extends RateFlags {
  model?: ModelPreset | undefined;
  data?: readonly string[] | undefined;
  heldOut?: string | undefined;
  tokenizer?: string | undefined;
  out?: string | undefined;
  numClasses?: number | undefined;
  steps?: number | undefined;
  globalBatch?: number | undefined;
  shardSize?: number | undefined;
  weightDecay?: number | undefined;
  clip?: number | undefined;
  /** The first one's average is measured and sampled from. */
  emaDecay?: readonly number[] | undefined;
  seed?: number | undefined;
  checkpointEvery?: number | undefined;
  maskDistribution?: string | undefined;
  maskBeta?: readonly number[] | undefined;
  labelSmoothing?: number | undefined;
  labelDrop?: number | undefined;
  reuseProbability?: number | undefined;
  reuseFrom?: string | undefined;
  /** The length in another unit than steps. */
  epochs?: number | undefined;
  images?: number | undefined;
  /** Of next-patch prediction: stages, and the share of a stage's end at which the one before it ends. */
  patchLevel?: number | undefined;
  epochRate?: number | undefined;
  /** Of training. */
  precision?: Precision | undefined;
  /** The released trainers' quirks too. */
  exactOriginal?: boolean | undefined;
  /** Keep only the blocks' inputs for the backward pass, and run each block again in it. */
  recompute?: boolean | undefined;
  /** Among several ranks: each keeps the optimizer's state of a share of the weights (ZeRO stage 1). */
  shardOptimizer?: boolean | undefined;
  /** Among several ranks: each keeps a piece of every weight (FSDP); GPT alone. Default: the largest two presets. */
  shardParameters?: boolean | undefined;
}

/** Of matrix products; float16 with scaled losses. */
export const precisions = ['float32', 'bf16', 'fp16'] as const;
export type Precision = (typeof precisions)[number];

/** Weights, their average and moments in float32 are 50 GB and 106 GB: more than most devices have. */
const shardedPresets: ReadonlySet<ModelPreset> = new Set(['gpt-3b', 'gpt-7b']);

/** Sizes that the data decides. */
export interface DataSizes {
  gridSize: number;
  codebookSize: number;
  numClasses: number;
  /** Images; default: ImageNet's. */
  numRows?: number | undefined;
}

export interface TrainSettings {
  preset: ModelPreset;
  family: FamilyName;
  config: GeneratorConfig;
  recipe: object;
  training: TrainingConfig;
  recompute: boolean;
  shardOptimizer: boolean;
  shardParameters: boolean;
}

/** A file of ours or AutoNAT's, told apart by its keys. */
export function readTrainFile(path: string): TrainFile {
  let content: unknown;
  try {
    content = parseYaml(readFileSync(path, 'utf8'), { maxAliasCount: 0 });
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new PipelineError('CONFIG', `The configuration ${path} cannot be read: ${reason}`, { cause: error });
  }
  return isOfficialAutonat(content) ? fromOfficialAutonat(content, path) : parseConfig(trainFileSchema, content, path);
}

/** @param data undefined while it is not known: the preset's sizes then stand */
export function resolveTraining(flags: TrainFlags, file: TrainFile, data: DataSizes | undefined): TrainSettings {
  const preset = flags.model ?? file.model;
  if (preset === undefined) {
    throw new PipelineError('OPTIONS', `Expected a model (${modelPresetNames.join(', ')}) or a file that names one.`);
  }
  const { family, config } = modelPreset(preset, {
    ...file.network,
    ...(data === undefined
      ? {}
      : { gridSize: data.gridSize, codebookSize: data.codebookSize, numClasses: data.numClasses }),
    ...given({ numClasses: flags.numClasses }),
  });
  if (data !== undefined && config.numClasses < data.numClasses) {
    throw new PipelineError(
      'OPTIONS',
      `The data has ${data.numClasses} classes, the model would have ${config.numClasses}: labels would have no place.`,
    );
  }
  checkFlags(flags, file, family);
  const original = flags.exactOriginal === true ? exactOriginal(family) : { recipe: {}, training: {} };
  const { maskDistribution, maskBeta, labelSmoothing, labelDrop, reuseProbability, reuseFrom } = flags;
  const schedule = scheduleOf(preset, flags, file, data?.numRows ?? IMAGENET_IMAGES);
  const recipe = parseConfig(
    familyOf(family).recipe,
    {
      ...(schedule.stages.length > 1 ? { stages: schedule.stages } : {}),
      ...original.recipe,
      ...file.recipe,
      ...given({ maskDistribution, maskBeta, labelSmoothing, labelDrop, reuseProbability, reuseFrom }),
    },
    `the recipe of ${family}`,
  );
  const training = resolveTrainingConfig(
    trainingOf(preset, flags, file, original.training, schedule),
    `the training of ${preset}`,
  );
  return {
    ...{ preset, family, config, recipe, training },
    recompute: flags.recompute ?? file.recompute ?? false,
    shardOptimizer: flags.shardOptimizer ?? file.shardOptimizer ?? false,
    shardParameters: flags.shardParameters ?? file.shardParameters ?? shardedPresets.has(preset),
  };
}

const RECIPE_FLAGS = [
  'maskDistribution',
  'maskBeta',
  'labelSmoothing',
  'labelDrop',
  'reuseProbability',
  'reuseFrom',
] as const;

/** Refuses flags that this model or the other flags leave without effect. */
function checkFlags(flags: TrainFlags, file: TrainFile, family: FamilyName): void {
  const refuse = (flag: string, why: string): never => {
    throw new PipelineError('OPTIONS', `${flagName(flag)} ${why}: leave it out.`);
  };
  const known = Object.keys((familyOf(family).recipe as z.ZodObject).shape);
  const foreign = RECIPE_FLAGS.find((flag) => flags[flag] !== undefined && !known.includes(flag));
  if (foreign !== undefined) refuse(foreign, `is not of ${family}`);
  if (family !== 'gpt') {
    const { patchLevel, epochRate, shardParameters } = flags;
    if (patchLevel !== undefined) refuse('patchLevel', 'is of GPT alone');
    if (epochRate !== undefined) refuse('epochRate', 'is of GPT alone');
    if (shardParameters === true) refuse('shardParameters', 'is of GPT alone');
  }
  if (flags.epochRate !== undefined && (flags.patchLevel ?? 1) === 1) {
    refuse('epochRate', 'is of the stages of --patch-level, and this run has one');
  }
  const distribution = flags.maskDistribution ?? file.recipe?.maskDistribution;
  if (flags.maskBeta !== undefined && distribution !== undefined && distribution !== 'beta') {
    refuse('maskBeta', `is of the distribution beta, and this one is ${String(distribution)}`);
  }
}

/** Length, rate and stages, once in steps. */
function scheduleOf(preset: ModelPreset, flags: TrainFlags, file: TrainFile, numItems: number): ResolvedSchedule {
  const base = trainRecipe(preset);
  const { epochs, images } = flags;
  const fileSteps = numberAt(file.training, 'totalSteps');
  const steps = flags.steps ?? (epochs === undefined && images === undefined ? fileSteps : undefined);
  const own = steps ?? epochs ?? images;
  return resolveSchedule(
    {
      ...flags,
      steps: own === undefined && base.epochs === undefined ? base.steps : steps,
      epochs: own === undefined ? base.epochs : epochs,
      globalBatch: flags.globalBatch ?? numberAt(file.training, 'globalBatch') ?? base.globalBatch,
      ...rateChoice(flags, fileCurve(file.training), base),
    },
    numItems,
  );
}

function trainingOf(
  preset: ModelPreset,
  flags: TrainFlags,
  file: TrainFile,
  original: object,
  schedule: ResolvedSchedule,
): object {
  const base = trainRecipe(preset);
  const { totalSteps: _, learningRate: __, ema: fileEma, ...fileRest } = file.training ?? {};
  const steps = schedule.totalSteps;
  const { globalBatch, shardSize, weightDecay, clip, seed } = flags;
  const often = Math.max(1, Math.floor(steps / 10));
  const exact = flags.exactOriginal === true;
  return {
    ...(preset.startsWith('gpt-') ? GPT_OPTIMIZER : NAT_OPTIMIZER),
    globalBatch: base.globalBatch,
    sampleEvery: often,
    evaluateEvery: often,
    checkpointEvery: base.checkpointEvery ?? Math.max(1, Math.min(500, Math.floor(often / 2))),
    ...original,
    ...fileRest,
    ...given({ globalBatch, shardSize, weightDecay, clip, seed, checkpointEvery: flags.checkpointEvery }),
    totalSteps: steps,
    learningRate: curveOf(flags, fileCurve(file.training), schedule.learningRate, exact),
    ema: averages(flags.emaDecay, fileEma, exact),
    ...precisionOf(flags.precision),
  };
}

function precisionOf(precision: Precision | undefined): { precision?: TrainingConfig['precision'] } {
  if (precision === undefined) return {};
  return { precision: precision === 'float32' ? undefined : precision };
}

/** One decay is written as one average; the originals' has no warm-up. */
function averages(decays: readonly number[] | undefined, file: unknown, exact: boolean): unknown {
  if (decays === undefined && file !== undefined) return file;
  const list = (decays ?? [0.9999]).map((decay) => ({ decay, ...(exact ? { warmup: false } : {}) }));
  return list.length === 1 ? list[0] : list;
}

/** Without the fields that are undefined. */
function given(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
