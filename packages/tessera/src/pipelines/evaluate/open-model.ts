/**
 * A model to evaluate, whatever it lies in: a model folder, a checkpoint of a training run, or a bare weights file. Of the
 * last two a tokenizer must be named where the run does not hold one; the rest is told by the files.
 */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { loadSafetensors, scope } from '@tessera/torch';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { readConfig } from '../../data/read-config.ts';
import type { GeneratorModel, GivenFields } from '../../models/family.ts';
import type { ModelPreset } from '../../models/presets.ts';
import { familyOf } from '../../models/registry.ts';
import { loadModule } from '../../nn/state-dict.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import type { OwnSampling } from '../choose-strategy.ts';
import { PipelineError } from '../events.ts';
import { loadOfficialTokenizer } from '../load-weights.ts';
import { openModelFolder, readModelFolder } from '../model-folder.ts';
import { openRunCheckpoint } from '../official/run-checkpoint.ts';
import { openGenerator } from '../open-generator.ts';
import { ownStrategy, unguided } from '../own-strategy.ts';
import { chooseTokenizer } from '../tokenize/choose-tokenizer.ts';
import { dropsLabels } from '../train-recipes.ts';
import { isModelFolder } from './image-set.ts';

export interface ModelChoice extends Omit<GivenFields, 'gridSize'> {
  /** A model folder, a run, a checkpoint of a run; undefined with `weights`. */
  source?: string | undefined;
  /** Weights file alone. */
  weights?: string | undefined;
  /** What the shapes of a weights file do not tell, and its strategy. */
  model?: ModelPreset | undefined;
  /** Where source does not hold one: a folder, a file, or an architecture's name. */
  tokenizer?: string | undefined;
  /** Of a named architecture. */
  tokenizerWeights?: string | undefined;
  /** Pixels that a model of bare weights draws, where its shapes do not tell. */
  size?: number | undefined;
}

export interface OpenedModel {
  /** For people. */
  path: string;
  model: GeneratorModel;
  tokenizer: Tokenizer;
  /** The file that decides the pictures. */
  weights: string;
  /** Undefined where nothing says how it is sampled. */
  strategy: OwnSampling | undefined;
  /** Names by label, where they are known. */
  classes: readonly string[] | undefined;
  nullClass?: boolean | undefined;
  /** Holds named strategies. */
  folder: string | undefined;
  dispose(): void;
}

/** The finished model of a path, in it or in `model/`. */
export function finishedModel(path: string): string | undefined {
  return [path, join(path, 'model')].find(isModelFolder);
}

/** The run of a generator that a path is or holds: of `train`, or of `fit`, where it lies in `generator/`. */
export function generatorRun(path: string): string | undefined {
  return [path, join(path, 'generator')].find((run) => existsSync(join(run, 'checkpoints')));
}

/** Whether a path is or holds a model of ours. */
export function holdsModel(path: string): boolean {
  return finishedModel(path) !== undefined || generatorRun(path) !== undefined || existsSync(join(path, 'state.json'));
}

/** Owned by the caller. */
export function openModel(choice: ModelChoice): OpenedModel {
  const { source, weights } = choice;
  if (weights !== undefined) return openWeights(weights, choice);
  const finished = finishedModel(source!);
  return finished === undefined ? openCheckpoint(source!, choice) : openFolder(finished);
}

function openFolder(path: string): OpenedModel {
  const folder = openModelFolder(path);
  return { ...folder, weights: join(path, 'model.safetensors'), folder: path };
}

const taskSchema = z.object({
  task: z.object({ labelDrop: z.number().optional(), networkLabelDrop: z.number().optional() }).optional(),
});

/** The newest checkpoint of a run, or one that is named. */
function openCheckpoint(path: string, choice: ModelChoice): OpenedModel {
  const found = openRunCheckpoint(generatorRun(path) ?? path)!;
  const run = resolve(found.path, '..', '..');
  const whole = resolve(run, '..');
  const finished = finishedModel(run) ?? (generatorRun(whole) === run ? finishedModel(whole) : undefined);
  const weights = join(found.path, found.averaged);
  const { task } = readConfig(join(run, 'config.yaml'), taskSchema, (text) => parseYaml(text, { maxAliasCount: 0 }));
  const described = finished === undefined ? undefined : readModelFolder(finished);
  const tokenizer = tokenizerOf(path, choice, [finished, join(whole, 'tokenizer')]);
  const opened = together(tokenizer, () =>
    scope(() => {
      const { family, config } = found;
      const checked = parseConfig(familyOf(family).schema, config, run);
      return loadModule((p) => familyOf(family).construct(checked, p), loadSafetensors(weights).tensors, weights);
    }),
  );
  const nullClass = task === undefined || dropsLabels(task);
  const own = ownStrategy(choice.model, opened.model);
  return {
    path: found.path,
    weights,
    strategy: described?.strategy ?? (nullClass ? own : unguided(own)),
    classes: described?.classes,
    nullClass,
    folder: finished,
    ...opened,
  };
}

function openWeights(weights: string, choice: ModelChoice): OpenedModel {
  const { model: preset, size, encoderDepth, decoderDepth, numHeads } = choice;
  const tokenizer = tokenizerOf(weights, choice, []);
  const gridSize = size === undefined ? undefined : size / tokenizer.downsampleFactor;
  const opened = together(tokenizer, () =>
    openGenerator({ weights, preset, gridSize, encoderDepth, decoderDepth, numHeads, exactly: preset !== undefined }),
  );
  return {
    path: weights,
    weights,
    strategy: ownStrategy(preset, opened.model),
    classes: undefined,
    nullClass: undefined,
    folder: undefined,
    ...opened,
  };
}

/** @param places that a run keeps its tokenizer in */
function tokenizerOf(
  path: string,
  { tokenizer, tokenizerWeights }: ModelChoice,
  places: readonly (string | undefined)[],
): Tokenizer {
  if (tokenizer !== undefined) return chooseTokenizer({ tokenizer, weights: tokenizerWeights }).tokenizer;
  if (tokenizerWeights !== undefined) return scope(() => loadOfficialTokenizer(tokenizerWeights));
  const kept = places.find((place) => place !== undefined && existsSync(join(place, 'config.json')));
  if (kept !== undefined) return chooseTokenizer({ tokenizer: kept }).tokenizer;
  throw new PipelineError(
    'TOKENIZER',
    `${path} makes tokens: expected what decodes them, --tokenizer FOLDER or --tokenizer-weights FILE.`,
  );
}

/** Opens the model of a tokenizer and refuses what does not belong together. */
function together(
  tokenizer: Tokenizer,
  open: () => GeneratorModel,
): Pick<OpenedModel, 'model' | 'tokenizer' | 'dispose'> {
  let model: GeneratorModel | undefined;
  const dispose = (): void => {
    model?.dispose();
    tokenizer.dispose();
  };
  try {
    model = open();
    const { codebookSize } = model.config;
    if (codebookSize === tokenizer.codebookSize) return { model, tokenizer, dispose };
    throw new PipelineError(
      'CODEBOOK',
      `The model has ${codebookSize} codes, the tokenizer ${tokenizer.codebookSize}: they do not belong together.`,
    );
  } catch (error) {
    dispose();
    throw error;
  }
}
