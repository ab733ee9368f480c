/** `tessera train-tokenizer`: a VQ tokenizer on a folder of images, in a run folder that resumes. */

import { statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { type Lpips, loadLpips } from '../tokenizers/lpips.ts';
import { tokenizerFamily } from '../tokenizers/registry.ts';
import { usualSize } from '../tokenizers/usual-size.ts';
import { resolveTrainingConfig } from '../training/config.ts';
import type { Ranks } from '../training/ranks.ts';
import { vqRecipeSchema } from '../training/vq-task.ts';
import type { PipelineEvent } from './events.ts';
import { firstTokenizer } from './first-tokenizer.ts';
import { type FitImages, loadFitImages } from './fit/images.ts';
import { amongRanks } from './join-ranks.ts';
import { loadWeights } from './load-weights.ts';
import { fingerprintOfTokenizer } from './tokenize/work-plan.ts';
import { openRecipe } from './tokenizer-recipes.ts';
import { trainTokenizer } from './tokenizer-training.ts';

export interface TrainTokenizerOptions {
  /** Folder of images. */
  images: string;
  /** Run folder; made, or resumed. */
  out: string;
  /** Preset, such as `vq-small`. */
  model?: string | undefined;
  /** Pixels of a side. */
  size?: number | undefined;
  codebookSize?: number | undefined;
  /** Checkpoint, model folder or tokenizer folder to start from. */
  initFrom?: string | undefined;
  /** Which state dict of a file that has several, such as `ema`. */
  entry?: string | undefined;
  /** Beginnings of names that start fresh. */
  ignoreKeys?: readonly string[] | undefined;
  /** The official files of LPIPS: VGG16 and the maps. */
  lpipsWeights?: readonly string[] | undefined;
  /** `plain`, `llamagen`, or a file. */
  recipe: string;
  steps: number;
  /** Bytes of decoded pictures that may be kept; default 2 GiB. Beyond it they are decoded at each visit. */
  memory?: number | undefined;
  globalBatch?: number | undefined;
  shardSize?: number | undefined;
  learningRate?: number | undefined;
  warmupSteps?: number | undefined;
  seed: number;
  /** Among several ranks: each keeps the optimizers' states of a share of the weights (ZeRO stage 1). */
  shardOptimizer?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

const STAGE = 'tokenizer';
/** Share of the steps after which revived codes settle. */
const REVIVE_SHARE = 0.8;
/** Factor on a recipe's rate where training starts from a checkpoint. */
const FINE_TUNING = 0.3;

export function trainTokenizerOnImages(options: TrainTokenizerOptions): AsyncGenerator<PipelineEvent> {
  return amongRanks((ranks) => trainOn(options, ranks));
}

async function* trainOn(options: TrainTokenizerOptions, ranks: Ranks): AsyncGenerator<PipelineEvent> {
  const { steps, seed, initFrom, signal } = options;
  const named = openRecipe(options.recipe);
  const given = named.recipe;
  const isFineTuning = initFrom !== undefined;
  const recipe = parseConfig(
    vqRecipeSchema,
    {
      ...given,
      reviveUntil: given.reviveUntil ?? Math.floor(steps * REVIVE_SHARE),
      ...(isFineTuning ? named.fineTuning : {}),
    },
    'the recipe',
  );
  const base = options.learningRate ?? named.learningRate * (isFineTuning && named.decays ? FINE_TUNING : 1);
  const globalBatch = options.globalBatch ?? named.globalBatch;
  const warmupSteps = Math.min(options.warmupSteps ?? named.warmupSteps, Math.floor(steps / 2));
  const part = (share: number): number => Math.max(1, Math.floor(steps * share));
  const training = resolveTrainingConfig({
    seed,
    globalBatch,
    shardSize: options.shardSize,
    totalSteps: steps,
    learningRate: named.decays
      ? { kind: 'cosine', base, warmupSteps, totalSteps: steps, floorFraction: 0.02 }
      : { kind: 'constant', base, warmupSteps },
    betas: named.betas,
    clip: 1,
    ema: named.ema,
    sampleEvery: part(0.1),
    evaluateEvery: part(0.1),
    checkpointEvery: Math.min(500, part(0.2)),
  });
  const lpips = openLpips(options.lpipsWeights);
  let first: ReturnType<typeof firstTokenizer> | undefined;
  let pictures: FitImages | undefined;
  try {
    const { model, codebookSize, entry, ignoreKeys = [] } = options;
    first = firstTokenizer({ model, codebookSize, initFrom, entry, ignoreKeys, seed });
    const { family, config, network, fresh } = first;
    const factor = tokenizerFamily(family).downsampleFactor(config);
    const size = options.size ?? usualSize({ downsampleFactor: factor, config });
    if (lpips === undefined && recipe.perceptualWeight > 0) {
      yield {
        kind: 'note',
        message: 'training without the perceptual term: --lpips-weights names the files of VGG16 and LPIPS',
      };
    }
    if (recipe.discriminator !== undefined && recipe.discriminatorStart > steps) {
      const start = recipe.discriminatorStart.toLocaleString('en-US');
      yield {
        kind: 'note',
        message:
          `training without the discriminator, which would join in step ${start} of ${steps.toLocaleString('en-US')}: ` +
          'give more --steps, or a smaller discriminatorStart in a recipe file',
      };
    }
    if (fresh.length > 0) yield { kind: 'note', message: `${fresh.length} tensors start fresh, such as ${fresh[0]}` };
    const { memory } = options;
    const { randomCrop } = recipe;
    pictures = yield* loadFitImages(options.images, { size, seed, memory, randomCrop, signal });
    const { train, measured: heldOut, fingerprint } = pictures;
    const { title } = tokenizerFamily(family);
    yield {
      kind: 'stage',
      stage: STAGE,
      message: `training a ${title} of ${String(config.codebookSize)} codes at ${size} px`,
    };
    const run = resolve(options.out);
    const out = join(run, 'tokenizer');
    const measured = yield* trainTokenizer({
      run,
      out,
      stage: STAGE,
      family,
      config,
      recipe,
      training,
      seed,
      train,
      heldOut,
      identity: {
        data: fingerprint,
        images: train.numImages,
        initFrom: network === undefined ? null : fingerprintOfTokenizer(network),
        entry: entry ?? null,
        ignoreKeys,
        lpips: (options.lpipsWeights ?? []).map((file) => `${basename(file)} ${statSync(file).size}`),
      },
      init: network === undefined ? undefined : { tensors: network.state, where: initFrom! },
      lpips,
      ranks,
      shardOptimizer: options.shardOptimizer,
      signal,
    });
    if (ranks.isFirst) yield { kind: 'file', path: out, what: 'the tokenizer' };
    yield { kind: 'result', result: { run, tokenizer: out, steps, ...(measured === undefined ? {} : { measured }) } };
  } finally {
    first?.network?.dispose();
    lpips?.dispose();
    await pictures?.close();
  }
}

function openLpips(files: readonly string[] | undefined): Lpips | undefined {
  if (files === undefined || files.length === 0) return undefined;
  return scope(() => loadLpips(new Map(files.flatMap((file) => [...loadWeights(file)])), files.join(' and ')));
}
