/** `tessera train`: a generator on a token data set, in a run folder that resumes. */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MixedTokens } from '../data/tokens/mixed-tokens.ts';
import type { OpenedTokens } from '../data/tokens/open-tokens.ts';
import { requireFolderName } from '../data/whole-folder.ts';
import type { GeneratorModel } from '../models/family.ts';
import type { GptRecipe } from '../models/gpt-recipe.ts';
import type { Ranks } from '../training/ranks.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { checkInitialWeights, copyInitialWeights, initialIdentity } from './initial-weights.ts';
import { amongRanks } from './join-ranks.ts';
import { writeModelFolder } from './model-folder.ts';
import { presetStrategy, unguided } from './own-strategy.ts';
import { openTrainingData } from './train-data.ts';
import { trainGenerator } from './train-generator.ts';
import { dropsLabels } from './train-recipes.ts';
import { describeStages } from './train-schedule.ts';
import { readTrainFile, resolveTraining, type TrainFile, type TrainFlags } from './train-settings.ts';

export interface TrainOptions extends TrainFlags {
  /** A file of settings, ours or AutoNAT's; flags stand above it. */
  config?: string | undefined;
  /** Weights to start from: a model folder, a checkpoint, a file. */
  initFrom?: string | undefined;
  /** Which state dict of a file that has several, such as `ema`. */
  entry?: string | undefined;
  /** Names, or beginnings of names, of tensors that start at random all the same. */
  ignoreKeys?: readonly string[] | undefined;
  /** Weights of several sources, one each. */
  mix?: readonly number[] | undefined;
  /** Pixels of an image's side, where a source holds more than one size and to be sure that the data is meant for it. */
  size?: number | undefined;
  /** Read all tokens first, comparing checksums and every number with its range. */
  verify?: boolean | undefined;
  /** Every checkpoint goes there too. */
  alsoSaveTo?: string | undefined;
  /** Resolve the settings, show them, do nothing. */
  dryRun?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export async function* train(options: TrainOptions): AsyncGenerator<PipelineEvent> {
  checkInitialWeights(options);
  const file = options.config === undefined ? {} : readTrainFile(options.config);
  if (options.dryRun === true) {
    // A file's paths may be those of another machine.
    const isThere = options.data !== undefined || file.data?.every((path) => existsSync(path)) === true;
    const data = isThere ? openTrainingData(options, file) : undefined;
    try {
      const { preset, family, config, recipe, training } = resolveTraining(options, file, data?.sizes);
      yield { kind: 'result', result: { settings: { model: preset, family, network: config, recipe, training } } };
    } finally {
      data?.dispose();
    }
    return;
  }
  yield* amongRanks((ranks) => trainOn(options, file, ranks));
}

async function* trainOn(options: TrainOptions, file: TrainFile, ranks: Ranks): AsyncGenerator<PipelineEvent> {
  const opened = openTrainingData(options, file);
  const { path, data, heldOut, tokenizer } = opened;
  let ema: GeneratorModel | undefined;
  try {
    const out = options.out ?? file.out;
    if (out === undefined) {
      throw new PipelineError('OPTIONS', 'train: expected a run folder (--out), as a flag or in the configuration.');
    }
    const run = resolve(out);
    for (const place of [run, options.alsoSaveTo]) if (place !== undefined) requireFolderName(place);
    if (options.verify === true) yield* verify(data, path);
    const settings = resolveTraining(options, file, opened.sizes);
    // Data that says its size has been asked.
    if (data.imageSize === undefined) checkSize(options.size, settings.config.gridSize, tokenizer?.downsampleFactor);
    const { preset, family, config, recipe, training, recompute, shardOptimizer, shardParameters } = settings;
    yield { kind: 'stage', stage: 'train', message: `training ${preset} on ${data.numRows} images` };
    const { stages } = recipe as Partial<GptRecipe>;
    if (stages !== undefined && stages.length > 1) yield { kind: 'note', message: describeStages(stages) };
    const { initFrom } = options;
    ema = yield* trainGenerator({
      run,
      stage: 'train',
      family,
      config,
      task: recipe,
      training,
      data,
      heldOut,
      dataIdentity: data.identity,
      tokenizer,
      recompute,
      shardOptimizer,
      shardParameters,
      alsoSaveTo: options.alsoSaveTo,
      prepare:
        initFrom === undefined
          ? undefined
          : (model) => void copyInitialWeights(model, initFrom, options.ignoreKeys ?? [], options.entry),
      startIdentity: initialIdentity(options),
      ranks,
      signal: options.signal,
    });
    const steps = training.totalSteps;
    const nullClass = dropsLabels(recipe);
    const result: Record<string, unknown> = { run, steps };
    if (tokenizer !== undefined && ranks.isFirst) {
      const folder = join(run, 'model');
      writeModelFolder(folder, {
        imageSize: config.gridSize * tokenizer.downsampleFactor,
        model: ema,
        tokenizer,
        strategy: nullClass ? presetStrategy(preset) : unguided(presetStrategy(preset)),
        nullClass,
        classes: classNames(data.classes, config.numClasses),
        card: `# ${preset}\n\nTrained with \`tessera train\` for ${steps} steps of ${training.globalBatch} images.\n`,
      });
      yield { kind: 'file', path: folder, what: 'the model' };
      result.model = folder;
    }
    yield { kind: 'result', result };
  } finally {
    ema?.dispose();
    opened.dispose();
  }
}

/** Minutes for ImageNet, which is why nobody has to wait for it. */
async function* verify(data: OpenedTokens, path: string): AsyncGenerator<PipelineEvent> {
  yield { kind: 'stage', stage: 'verify', message: `reading all tokens of ${path}` };
  const total =
    data instanceof MixedTokens ? data.sources.reduce((sum, { numRows }) => sum + numRows, 0) : data.numRows;
  for (const done of data.verify()) {
    if (done % VERIFY_EVENTS !== 0 && done !== total) continue;
    yield { kind: 'progress', stage: 'verify', done, total, unit: 'images' };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const VERIFY_EVENTS = 4096;

/** Both published tokenizers of this size of data have 16 pixels a token; another tokenizer says its own. */
function checkSize(size: number | undefined, gridSize: number, factor = 16): void {
  if (size === undefined || size === gridSize * factor) return;
  throw new PipelineError(
    'OPTIONS',
    `Expected tokens of ${size} px images, a ${size / factor}x${size / factor} grid; the data has ${gridSize}x${gridSize}, ` +
      `images of ${gridSize * factor} px: tokenize at ${size} px, or train with --size ${gridSize * factor}.`,
  );
}

/** A model may have more classes than the data names. */
function classNames(names: readonly string[], count: number): string[] {
  return Array.from({ length: count }, (_, label) => names[label] ?? `class ${label}`);
}
