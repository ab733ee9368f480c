/**
 * The model folder (docs/architecture.md, "On disk"): everything that sampling needs, by Hugging Face's conventions.
 *
 *   config.json              formatVersion, family, the family's configuration
 *   model.safetensors        tensors by their official names
 *   tokenizer/config.json    the tokenizer's configuration
 *   tokenizer/model.safetensors
 *   strategy.yaml            how to sample it by default
 *   classes.json             class names by label
 *   README.md                the model card
 *
 * Written whole into a temporary folder and renamed. Files are read as hostile: schemas are strict, shapes are checked,
 * a newer format version is refused.
 */

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  isAutoregressive,
  parseConfig,
  parseSamplingSettings,
  type SamplingSettings,
  strictConfig,
} from '@tessera/schedule';
import { loadSafetensors, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { parse as parseYaml, stringify as stringifyYaml } from 'yaml';
import { z } from 'zod';
import { moveIntoPlace, temporaryFor } from '../data/whole-folder.ts';
import type { GeneratorConfig, GeneratorModel } from '../models/family.ts';
import { type FamilyName, familyNames, familyOf } from '../models/registry.ts';
import type { Module, ParameterBuilder } from '../nn/module.ts';
import { loadModule, type NetworkDType } from '../nn/state-dict.ts';
import { type TokenizerFamilyName, tokenizerFamily, tokenizerFamilyNames } from '../tokenizers/registry.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { PipelineError } from './events.ts';
import { loadOfficialTokenizer } from './load-weights.ts';
import { keepNamedStrategies } from './named-strategy-files.ts';

const FORMAT_VERSION = 1;

const modelConfigSchema = strictConfig({
  formatVersion: z.int(),
  family: z.enum(familyNames),
  /** Pixels of an image's side. */
  imageSize: z.int().min(1).max(65536),
  /** False for a model that never saw the null label: it cannot be guided. */
  nullClass: z.boolean().default(true),
  model: z.record(z.string(), z.unknown()),
});

const tokenizerConfigSchema = strictConfig({
  formatVersion: z.int(),
  family: z.enum(tokenizerFamilyNames),
  tokenizer: z.record(z.string(), z.unknown()),
});

export interface ModelFolder {
  path: string;
  imageSize: number;
  model: GeneratorModel;
  tokenizer: Tokenizer;
  strategy: SamplingSettings;
  /** Class names by label. */
  classes: string[];
  /** False for a model that never saw the null label; default true. */
  nullClass?: boolean | undefined;
  dispose(): void;
}

/** What a model folder is written from. */
export interface ModelToWrite {
  imageSize: number;
  model: GeneratorModel;
  tokenizer: Tokenizer;
  strategy: SamplingSettings;
  classes: readonly string[];
  /** False for a model that was trained without dropping labels. */
  nullClass?: boolean | undefined;
  /** Markdown of the model card. */
  card: string;
  /** Storage type of the network's weights; half precision halves the file and is widened on reading. */
  dtype?: 'float32' | 'float16' | 'bfloat16';
}

/** What a model folder says of itself, without its weights. */
export interface ModelDescription {
  family: FamilyName;
  imageSize: number;
  config: GeneratorConfig;
  tokenizerFamily: TokenizerFamilyName;
  tokenizerConfig: Record<string, unknown>;
  strategy: SamplingSettings;
  classes: string[];
  /** False for a model that was trained without dropping labels. */
  nullClass: boolean;
}

/** Reads and checks everything but the weights; needs no engine. */
export function readModelFolder(path: string): ModelDescription {
  if (!existsSync(join(path, 'config.json'))) {
    throw new PipelineError(
      'MODEL_FOLDER',
      `${path} is no model folder: expected a config.json in it${modelOf(path)}.`,
    );
  }
  const { formatVersion, family, imageSize, nullClass, model } = parseConfig(
    modelConfigSchema,
    readJson(path, 'config.json'),
    join(path, 'config.json'),
  );
  checkVersion(formatVersion, join(path, 'config.json'));
  const classes = parseConfig(z.array(z.string()), readJson(path, 'classes.json'), join(path, 'classes.json'));
  const strategy = parseSamplingSettings(readYaml(path, 'strategy.yaml'), join(path, 'strategy.yaml'));
  const config = parseConfig(familyOf(family).schema, model, join(path, 'config.json'));
  const tokenizer = readTokenizerConfig(join(path, 'tokenizer'));
  const problem = mismatch(config, tokenizer, classes, imageSize);
  if (problem !== undefined) throw new PipelineError('MODEL_FOLDER', `${path}: ${problem}`);
  if (isAutoregressive(strategy) !== (familyOf(family).generation === 'autoregressive')) {
    throw new PipelineError('MODEL_FOLDER', `${path}: strategy.yaml does not sample a model of the family ${family}`);
  }
  return {
    family,
    imageSize,
    config,
    tokenizerFamily: tokenizer.family,
    tokenizerConfig: tokenizer.config,
    strategy,
    classes,
    nullClass,
  };
}

/** Of a run that is taken for its model: where that is. */
export function modelOf(run: string): string {
  if (!['plan.json', 'config.yaml', 'checkpoints'].some((name) => existsSync(join(run, name)))) return '';
  const found = ['model', 'tokenizer']
    .map((name) => join(run, name))
    .find((path) => existsSync(join(path, 'config.json')));
  return found === undefined ? '' : `; ${run} is a run, and its ${basename(found)} is ${found}`;
}

/** @param dtype of the generator; the tokenizer computes in float32 */
export function openModelFolder(path: string, dtype: NetworkDType = 'float32'): ModelFolder {
  const { family, imageSize, config, strategy, classes, nullClass } = readModelFolder(path);
  const tokenizer = openTokenizer(join(path, 'tokenizer'));
  let model: GeneratorModel;
  try {
    model = loadFrom(join(path, 'model.safetensors'), (p) => familyOf(family).construct(config, p), dtype);
  } catch (error) {
    tokenizer.dispose();
    throw error;
  }
  const dispose = (): void => {
    model.dispose();
    tokenizer.dispose();
  };
  return { path, imageSize, model, tokenizer, strategy, classes, nullClass, dispose };
}

/** The tokenizer folder alone. */
export function openTokenizer(path: string): Tokenizer {
  const { family, config } = readTokenizerConfig(path);
  return loadFrom(join(path, 'model.safetensors'), (p) => tokenizerFamily(family).construct(config, p));
}

/** What a tokenizer folder says of itself. */
export interface TokenizerDescription {
  family: TokenizerFamilyName;
  config: Record<string, unknown>;
}

export function readTokenizerConfig(path: string): TokenizerDescription {
  const file = join(path, 'config.json');
  const { formatVersion, family, tokenizer } = parseConfig(tokenizerConfigSchema, readJson(path, 'config.json'), file);
  checkVersion(formatVersion, file);
  return { family, config: parseConfig(tokenizerFamily(family).schema, tokenizer, file) };
}

/** A tokenizer from a tokenizer folder, an official checkpoint, or from a model folder with the model's image size. */
export function openAnyTokenizer(path: string): { tokenizer: Tokenizer; imageSize: number | undefined } {
  if (existsSync(path) && statSync(path).isFile()) {
    return { tokenizer: scope(() => loadOfficialTokenizer(path)), imageSize: undefined };
  }
  const inner = join(path, 'tokenizer');
  if (!existsSync(join(inner, 'config.json'))) return { tokenizer: openTokenizer(path), imageSize: undefined };
  const config = parseConfig(modelConfigSchema, readJson(path, 'config.json'), join(path, 'config.json'));
  return { tokenizer: openTokenizer(inner), imageSize: config.imageSize };
}

/** Writes a whole folder or nothing; an older one at `path` is replaced, but for the strategies that it keeps by name. */
export function writeModelFolder(path: string, content: ModelToWrite): void {
  const { imageSize, model, tokenizer, strategy, classes, nullClass, card, dtype = 'float32' } = content;
  const temporary = temporaryFor(path);
  mkdirSync(join(temporary, 'tokenizer'), { recursive: true });
  writeModelDescription(temporary, {
    family: model.family as FamilyName,
    imageSize,
    config: model.config,
    classes,
    nullClass,
    strategy,
    card,
  });
  saveModule(join(temporary, 'model.safetensors'), model, dtype);
  writeTokenizer(join(temporary, 'tokenizer'), tokenizer, dtype);
  keepNamedStrategies(path, temporary);
  moveIntoPlace(temporary, path);
}

/** All files of a model folder but the weights and the tokenizer, into a folder that exists. */
export function writeModelDescription(
  path: string,
  description: Pick<ModelToWrite, 'imageSize' | 'classes' | 'nullClass' | 'strategy' | 'card'> & {
    family: FamilyName;
    config: GeneratorConfig;
  },
): void {
  const { family, imageSize, config, classes, nullClass = true, strategy, card } = description;
  const unguided = nullClass ? {} : { nullClass };
  writeJson(path, 'config.json', { formatVersion: FORMAT_VERSION, family, imageSize, ...unguided, model: config });
  writeJson(path, 'classes.json', classes);
  writeFileSync(join(path, 'strategy.yaml'), stringifyYaml(strategy));
  writeFileSync(join(path, 'README.md'), card);
}

/** The `config.json` of a tokenizer folder. */
export function writeTokenizerDescription(
  path: string,
  { family, config }: { family: string; config: Readonly<Record<string, unknown>> },
): void {
  writeJson(path, 'config.json', { formatVersion: FORMAT_VERSION, family, tokenizer: config });
}

/** Writes a tokenizer folder of its own, whole or not at all. */
export function writeTokenizerFolder(path: string, tokenizer: Tokenizer): void {
  const temporary = temporaryFor(path);
  mkdirSync(temporary, { recursive: true });
  writeTokenizer(temporary, tokenizer, 'float32');
  moveIntoPlace(temporary, path);
}

function writeTokenizer(path: string, tokenizer: Tokenizer, dtype: 'float32' | 'float16' | 'bfloat16'): void {
  writeTokenizerDescription(path, tokenizer);
  saveModule(join(path, 'model.safetensors'), tokenizer, dtype);
}

/** Saves all tensors of a module under their official names. */
function saveModule(path: string, module: Module, dtype: 'float32' | 'float16' | 'bfloat16'): void {
  scope(() => {
    const entries = [...module.state].map(([name, tensor]): [string, Tensor] => [name, tensor.detach().to(dtype)]);
    saveSafetensors(path, entries, { format: 'pt' });
  });
}

function loadFrom<M extends Module>(path: string, construct: (p: ParameterBuilder) => M, dtype?: NetworkDType): M {
  return scope(() => loadModule(construct, loadSafetensors(path).tensors, path, dtype));
}

function mismatch(
  model: GeneratorConfig,
  tokenizer: TokenizerDescription,
  classes: readonly string[],
  imageSize: number,
): string | undefined {
  const { gridSize, codebookSize, numClasses } = model;
  const codes = tokenizer.config.codebookSize;
  if (codebookSize !== codes) return `the model has a codebook of ${codebookSize}, the tokenizer of ${String(codes)}`;
  const factor = tokenizerFamily(tokenizer.family).downsampleFactor(tokenizer.config);
  if (gridSize * factor !== imageSize) {
    return `a grid of ${gridSize} tokens of ${factor} px is not ${imageSize} px`;
  }
  return classes.length === numClasses ? undefined : `${numClasses} classes in config.json, ${classes.length} names`;
}

function checkVersion(version: number, where: string): void {
  if (version === FORMAT_VERSION) return;
  throw new PipelineError(
    'FORMAT_VERSION',
    `${where} has format version ${version}, this program reads ${FORMAT_VERSION}: update Tessera.`,
  );
}

function readJson(folder: string, file: string): unknown {
  return parsed(folder, file, JSON.parse);
}

function readYaml(folder: string, file: string): unknown {
  return parsed(folder, file, (text) => parseYaml(text, { maxAliasCount: 0 }));
}

function parsed(folder: string, file: string, parse: (text: string) => unknown): unknown {
  const path = join(folder, file);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new PipelineError('MODEL_FOLDER', `${path} cannot be read: it belongs to a model folder${modelOf(folder)}.`, {
      cause: error,
    });
  }
  try {
    return parse(text);
  } catch (error) {
    throw new PipelineError('MODEL_FOLDER', `${path} is broken: ${(error as Error).message.split('\n')[0]}`, {
      cause: error,
    });
  }
}

function writeJson(folder: string, file: string, value: unknown): void {
  writeFileSync(join(folder, file), `${JSON.stringify(value, undefined, 2)}\n`);
}
