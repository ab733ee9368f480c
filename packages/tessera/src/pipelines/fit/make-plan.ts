/**
 * Turns images and minutes into a plan: which tokenizer, how many steps of each training. The tokenizer that is shipped
 * is kept, fine-tuned or replaced by how well it reconstructs the user's held-out images.
 */

import { parseConfig } from '@tessera/schedule';
import { getNumThreads, manualSeed, noGrad, randint, scope, torchVersion } from '@tessera/torch';
import type { z } from 'zod';
import type { TokenRows } from '../../data/token-dataset.ts';
import { Enat, type EnatConfig } from '../../models/enat.ts';
import { enatRecipeSchema } from '../../models/enat-recipe.ts';
import { enatPreset } from '../../models/presets.ts';
import { initialise } from '../../nn/module.ts';
import { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import { tokenGrid, type VqConfig, vqPreset } from '../../tokenizers/vq-config.ts';
import { createGeneratorTask } from '../../training/generator-task.ts';
import { createVqTask, type vqRecipeSchema } from '../../training/vq-task.ts';
import { imageBatch, type PixelBlock, reconstructionPsnr } from '../decode-tokens.ts';
import { PipelineError } from '../events.ts';
import type { FitImages } from './images.ts';
import { secondsPerStep } from './measure.ts';
import { type FitPlan, fitPlanSchema } from './plan.ts';

export type TokenizerChoice = 'auto' | 'keep' | 'fine-tune' | 'train';

export interface PlanOptions {
  /** Seconds that are left for everything, asked when the measuring is over. */
  secondsLeft(): number;
  /** Of a picture that is not kept in memory. Default 0. */
  secondsToRead?: number | undefined;
  seed: number;
  tokenizer: TokenizerChoice;
  /** The shipped tokenizer for this image size, if there is one. */
  shipped: LlamaGenVq | undefined;
}

/** Held-out PSNR in dB above which the shipped tokenizer is kept, and above which it is worth fine-tuning. */
const KEEP_ABOVE = 23;
const FINE_TUNE_ABOVE = 15;
/** Share of the training time for a tokenizer. */
const TOKENIZER_SHARE = { keep: 0, 'fine-tune': 0.3, train: 0.45 } as const;
/** Seconds at least between two measurements or two grids of samples, and about between two checkpoints. */
const WATCH_EVERY = 30;
/** The same as a share of a training: the wider of both counts. */
const WATCH_SHARE = 0.125;
const SAVE_EVERY = 30;
/** Seconds kept for the last samples and the report, and for each measurement and grid of samples on the way. */
const LAST_SECONDS = 25;
const WATCH_SECONDS = 8;
/** Part of the rest kept for checkpoints and the machine's moods. */
const SLACK = 0.05;
const BATCH = 64;
/** Training longer than this, in seconds, gives the tokenizer larger batches. */
const LONG_SECONDS = 1200;
const MIN_STEPS = 10;
/** Images encoded for measuring, at most. */
const ENCODED = 64;

/** sample — a few pictures of those images, in memory. */
export function makePlan(images: FitImages, sample: PixelBlock, options: PlanOptions): FitPlan {
  const { seed, shipped } = options;
  const { size } = images.train;
  const measured: Record<string, number> = {};
  const { mode, reason } = chooseTokenizer(sample, options, measured);
  const vqConfig: VqConfig =
    mode === 'train' || shipped === undefined ? vqPreset(size >= 64 ? 'vq-small-64' : 'vq-small') : shipped.config;
  const generator = generatorConfig(images, vqConfig);
  const globalBatch = trainingSeconds(options.secondsLeft()) > LONG_SECONDS ? 32 : 16;
  const perTokenizerStep = mode === 'keep' ? 0 : measureTokenizer(sample, vqConfig, globalBatch);
  const perGeneratorStep = measureGenerator(images, generator);
  measured.secondsPerGeneratorStep = perGeneratorStep;
  const perImage = measureEncoding(sample, vqConfig);
  measured.secondsPerImageOfTokens = perImage;
  // All images become tokens once. What measuring took is gone by now.
  const { secondsToRead = 0 } = options;
  const tokens =
    perImage * (images.train.numImages + images.heldOut.numImages) + secondsToRead * images.train.numImages;
  const budget = trainingSeconds(options.secondsLeft() - tokens);

  let tokenizerTraining: unknown;
  let recipe: z.input<typeof vqRecipeSchema> = {};
  if (mode !== 'keep') {
    measured.secondsPerTokenizerStep = perTokenizerStep;
    const steps = Math.max(MIN_STEPS, Math.floor((budget * TOKENIZER_SHARE[mode]) / perTokenizerStep));
    // Mirroring is safe here whatever the classes mean: a tokenizer learns what patches look like, not labels.
    recipe = { horizontalFlip: true, reviveUntil: Math.floor(steps * 0.8) };
    tokenizerTraining = trainingOf(steps, {
      base: mode === 'train' ? 1e-3 : 3e-4,
      betas: [0.9, 0.99],
      emaDecay: 0.998,
      globalBatch,
      perStep: perTokenizerStep,
      seed,
    });
  }
  const steps = Math.max(MIN_STEPS, Math.floor((budget * (1 - TOKENIZER_SHARE[mode])) / perGeneratorStep));
  return parseConfig(
    fitPlanSchema,
    {
      formatVersion: 1,
      imageSize: size,
      seed,
      threads: getNumThreads(),
      torch: torchVersion(),
      dataFingerprint: images.fingerprint,
      numTrain: images.train.numImages,
      numHeldOut: images.heldOut.numImages,
      classes: images.classes,
      tokenizer: { mode, reason, config: vqConfig, recipe, training: tokenizerTraining },
      generator: {
        config: generator,
        task: { labelDrop: 0.1 },
        training: trainingOf(steps, {
          base: 1e-3,
          betas: [0.9, 0.99],
          weightDecay: 0.03,
          emaDecay: 0.9995,
          globalBatch: BATCH,
          perStep: perGeneratorStep,
          seed,
        }),
      },
      measured,
    },
    'the plan',
  );
}

/** What is left of the time for optimizer steps. */
function trainingSeconds(seconds: number): number {
  const beforeTheEnd = Math.max(0, seconds - LAST_SECONDS);
  const watches = Math.min(1 / WATCH_SHARE, Math.floor(beforeTheEnd / WATCH_EVERY));
  return (beforeTheEnd - watches * WATCH_SECONDS) * (1 - SLACK);
}

function chooseTokenizer(
  sample: PixelBlock,
  { tokenizer, shipped }: PlanOptions,
  measured: Record<string, number>,
): { mode: 'keep' | 'fine-tune' | 'train'; reason: string } {
  if (shipped === undefined) {
    if (tokenizer === 'auto' || tokenizer === 'train') {
      return { mode: 'train', reason: 'no tokenizer is shipped for this image size' };
    }
    throw new PipelineError(
      'OPTIONS',
      `--tokenizer ${tokenizer}: no tokenizer is shipped for ${sample.size} px; leave it out, or take another --size.`,
    );
  }
  const psnr = reconstructionPsnr(shipped, sample);
  measured.shippedTokenizerPsnr = psnr;
  const found = `the shipped tokenizer reconstructs these images at ${psnr.toFixed(1)} dB`;
  if (tokenizer !== 'auto') return { mode: tokenizer, reason: `asked for; ${found}` };
  if (psnr >= KEEP_ABOVE) return { mode: 'keep', reason: found };
  return psnr >= FINE_TUNE_ABOVE ? { mode: 'fine-tune', reason: found } : { mode: 'train', reason: found };
}

function generatorConfig(images: FitImages, vqConfig: VqConfig): EnatConfig {
  const { size } = images.train;
  const [gridSize] = tokenGrid(vqConfig, size, size);
  return enatPreset('enat-nano', {
    gridSize,
    codebookSize: vqConfig.codebookSize,
    numClasses: images.classes.length,
  });
}

interface TrainingChoice {
  base: number;
  betas: [number, number];
  weightDecay?: number;
  emaDecay: number;
  globalBatch: number;
  /** Seconds of a step. */
  perStep: number;
  seed: number;
}

/** Settings of a training of this many steps: how often something is written follows from its length. */
function trainingOf(totalSteps: number, choice: TrainingChoice): unknown {
  const { base, betas, weightDecay = 0, emaDecay, globalBatch, perStep, seed } = choice;
  const part = (share: number): number => Math.max(1, Math.round(totalSteps * share));
  const stepsIn = (seconds: number): number => Math.max(1, Math.ceil(seconds / perStep));
  return {
    seed,
    globalBatch,
    totalSteps,
    learningRate: {
      kind: 'cosine',
      base,
      warmupSteps: Math.min(100, part(0.05)),
      totalSteps,
      floorFraction: 0.02,
    },
    betas,
    weightDecay,
    clip: 1,
    ema: { decay: emaDecay },
    logEvery: Math.min(20, part(0.02)),
    checkpointEvery: stepsIn(SAVE_EVERY),
    evaluateEvery: Math.max(part(WATCH_SHARE), stepsIn(WATCH_EVERY)),
    sampleEvery: Math.max(part(WATCH_SHARE), stepsIn(WATCH_EVERY)),
  };
}

function measureTokenizer({ pixels, size }: PixelBlock, config: VqConfig, globalBatch: number): number {
  manualSeed(0);
  const task = createVqTask({ config, images: { pixels, height: size, width: size } });
  try {
    return secondsPerStep(task, globalBatch);
  } finally {
    task.dispose();
  }
}

/** Seconds of an image on its way to tokens. */
function measureEncoding(sample: PixelBlock, config: VqConfig): number {
  manualSeed(0);
  const tokenizer = initialise((p) => new LlamaGenVq(config, p));
  const count = Math.min(ENCODED, sample.pixels.length / (sample.size ** 2 * 3));
  const encode = (): number => {
    const began = performance.now();
    noGrad(() => scope(() => tokenizer.encode(imageBatch(sample, 0, count)).toNumbers()));
    return (performance.now() - began) / 1000 / count;
  };
  try {
    encode(); // the first one warms up
    return encode();
  } finally {
    tokenizer.dispose();
  }
}

/** Random tokens serve: the time of a step does not depend on their values. */
function measureGenerator(images: FitImages, config: EnatConfig): number {
  manualSeed(0);
  const model = initialise((p) => new Enat(config, p));
  const data = syntheticRows(config, images.classes);
  try {
    return secondsPerStep(createGeneratorTask({ model, ema: model, data, recipe: enatRecipeSchema.parse({}) }), BATCH);
  } finally {
    model.dispose();
  }
}

function syntheticRows(config: EnatConfig, classes: readonly string[]): TokenRows {
  const seqLen = config.gridSize ** 2;
  return {
    numRows: BATCH,
    seqLen,
    codebookSize: config.codebookSize,
    classes,
    rows: (indices) => ({
      tokens: randint(0, config.codebookSize, [indices.length, seqLen]),
      labels: randint(0, classes.length, [indices.length]),
    }),
  };
}
