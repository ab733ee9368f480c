/** `tessera train`: a generator on a token data set, in a run folder that resumes. */

import { join, resolve } from 'node:path';
import { stringify as stringifyYaml } from 'yaml';
import { TokenDataset } from '../data/token-dataset.ts';
import type { GeneratorModel } from '../models/family.ts';
import type { GptRecipe } from '../models/gpt-recipe.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { copyInitialWeights } from './initial-weights.ts';
import { openAnyTokenizer, writeModelFolder } from './model-folder.ts';
import { trainGenerator } from './train-generator.ts';
import { presetStrategy } from './train-recipes.ts';
import { describeStages } from './train-schedule.ts';
import { readTrainFile, resolveTraining, type TrainFlags, type TrainSettings } from './train-settings.ts';

export interface TrainOptions extends TrainFlags {
  /** A file of settings, ours or AutoNAT's; flags stand above it. */
  config?: string | undefined;
  /** Weights to start from: a model folder, a checkpoint, a file. */
  initFrom?: string | undefined;
  /** Names, or beginnings of names, of tensors that start at random all the same. */
  ignoreKeys?: readonly string[] | undefined;
  /** Pixels of an image's side, to be sure that the data is meant for it. */
  size?: number | undefined;
  /** Every checkpoint goes there too. */
  alsoSaveTo?: string | undefined;
  /** Resolve the settings, show them, do nothing. */
  dryRun?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export async function* train(options: TrainOptions): AsyncGenerator<PipelineEvent> {
  const file = options.config === undefined ? {} : readTrainFile(options.config);
  if (options.dryRun === true) {
    const settings = resolveTraining(options, file, undefined);
    yield { kind: 'note', message: shown(settings) };
    yield { kind: 'result', result: { ...settings } };
    return;
  }
  const out = options.out ?? file.out;
  const [path, ...more] = options.data ?? file.data ?? [];
  if (path === undefined || out === undefined) {
    const what = path === undefined ? 'a token data set (--data)' : 'a run folder (--out)';
    throw new PipelineError('OPTIONS', `train: expected ${what}, as a flag or in the configuration.`);
  }
  if (more.length > 0) throw new PipelineError('OPTIONS', `Expected one token data set, got ${more.length + 1}.`);
  const heldOutPath = options.heldOut ?? file.heldOut;
  const tokenizerPath = options.tokenizer ?? file.tokenizer;
  const data = TokenDataset.open(path);
  const heldOut = heldOutPath === undefined ? undefined : TokenDataset.open(heldOutPath);
  const opened = tokenizerPath === undefined ? undefined : openAnyTokenizer(tokenizerPath);
  let ema: GeneratorModel | undefined;
  try {
    if (opened !== undefined && opened.tokenizer.codebookSize !== data.codebookSize) {
      const [had, got] = [data.codebookSize, opened.tokenizer.codebookSize];
      throw new PipelineError(
        'CODEBOOK',
        `${path} has ${had} codes, the tokenizer ${got}: they do not belong together.`,
      );
    }
    const settings = resolveTraining(options, file, {
      gridSize: data.description.gridSize,
      codebookSize: data.codebookSize,
      numClasses: data.classes.length,
      numRows: data.numRows,
    });
    checkSize(options.size, settings.config.gridSize, opened?.tokenizer.downsampleFactor);
    const { preset, family, config, recipe, training, recompute } = settings;
    yield { kind: 'stage', stage: 'train', message: `training ${preset} on ${data.numRows} images` };
    const { stages } = recipe as Partial<GptRecipe>;
    if (stages !== undefined && stages.length > 1) yield { kind: 'note', message: describeStages(stages) };
    const run = resolve(out);
    ema = yield* trainGenerator({
      run,
      stage: 'train',
      family,
      config,
      task: recipe,
      training,
      data,
      heldOut,
      dataIdentity: data.description.shards,
      tokenizer: opened?.tokenizer,
      recompute,
      alsoSaveTo: options.alsoSaveTo,
      prepare: (model) => {
        if (options.initFrom !== undefined) copyInitialWeights(model, options.initFrom, options.ignoreKeys ?? []);
      },
      signal: options.signal,
    });
    const steps = training.totalSteps;
    const result: Record<string, unknown> = { run, steps };
    if (opened !== undefined) {
      const { tokenizer } = opened;
      const folder = join(run, 'model');
      writeModelFolder(folder, {
        imageSize: config.gridSize * tokenizer.downsampleFactor,
        model: ema,
        tokenizer,
        strategy: presetStrategy(preset),
        classes: classNames(data.classes, config.numClasses),
        card: `# ${preset}\n\nTrained with \`tessera train\` for ${steps} steps of ${training.globalBatch} images.\n`,
      });
      yield { kind: 'file', path: folder, what: 'the model' };
      result.model = folder;
    }
    yield { kind: 'result', result };
  } finally {
    for (const owned of [ema, data, heldOut, opened?.tokenizer]) owned?.dispose();
  }
}

function shown({ preset, family, config, recipe, training }: TrainSettings): string {
  return stringifyYaml({ model: preset, family, network: config, recipe, training }).trimEnd();
}

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
