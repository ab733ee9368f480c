/**
 * `tessera import`: official checkpoints as folders of ours. The architecture is told by the names of the tensors, its
 * sizes by their shapes; every tensor is checked by name, shape and value, and copied as it is, type included. One tensor
 * is in memory at a time.
 */

import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type FileByteReader, openFile } from '@tessera/formats/node';
import type { SamplingSettings } from '@tessera/schedule';
import { isDType } from '@tessera/torch';
import { z } from 'zod';
import { classNamesOf } from '../data/imagenet-classes.ts';
import { readConfig } from '../data/read-config.ts';
import { moveIntoPlace, requireReplaceable, temporaryFor } from '../data/whole-folder.ts';
import type { GeneratorConfig, GivenFields } from '../models/family.ts';
import type { ModelPreset } from '../models/presets.ts';
import { type FamilyName, familyOf } from '../models/registry.ts';
import { checkShapes, shapesOf } from '../nn/state-dict.ts';
import { tokenizerFamily } from '../tokenizers/registry.ts';
import { chooseSampling } from './choose-strategy.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import {
  readModelFolder,
  readTokenizerConfig,
  writeModelDescription,
  writeTokenizerDescription,
} from './model-folder.ts';
import { type Architecture, describeCheckpoint, recogniseArchitecture } from './official/architectures.ts';
import { EMA_FILE, importTraining, isCheckpointFolder } from './official/checkpoint-folder.ts';
import { CONSOLIDATED, importLlamagenTraining } from './official/llamagen-training.ts';
import { readWeights, type WeightsInFile } from './official/read-weights.ts';
import { writeSafetensors } from './official/tensor-file.ts';
import { givenFields, requireFamily } from './open-generator.ts';
import { presetStrategy, strategyOfSizes } from './own-strategy.ts';

export interface ImportOptions extends GivenFields {
  /** A weights file, a five-file checkpoint folder of AutoNAT or ENAT, or the folder of a sharded LlamaGen run. */
  source: string;
  /** Folder to write; one of ours that is there is replaced, anything else refused. */
  out: string;
  /** The family that it must be; default: whatever it is. */
  family?: string | undefined;
  /** Which state dict of several, such as `ema`. */
  entry?: string | undefined;
  /** Of a generator: its tokenizer, a folder of ours or an official file. */
  tokenizer?: string | undefined;
  /** Of a generator: a JSON list of class names by label, or `labels`; default: ImageNet's for 1,000, else the labels. */
  classes?: string | undefined;
  /** Of a generator: how to sample it; default: as the preset of its sizes, else as its family's published network. */
  strategy?: string | undefined;
  /** Of a generator: gives what shapes do not tell, where the fields above do not. */
  model?: ModelPreset | undefined;
}

export async function* importCheckpoint(options: ImportOptions): AsyncGenerator<PipelineEvent> {
  const { source, out } = options;
  if (!existsSync(source)) throw new PipelineError('NOT_FOUND', `${source}: no such file or folder.`);
  const file = weightsFile(source);
  const folder = file !== source && basename(file) === EMA_FILE;
  requireReplaceable(out, 'config.json', [source, options.tokenizer, options.classes]);
  const temporary = temporaryFor(out);
  mkdirSync(temporary, { recursive: true });
  try {
    const checkpoint = openCheckpoint(file, { ...options, ...givenFields(options, options.model) });
    const { architecture, config, weights, names } = checkpoint;
    if (options.model !== undefined) requireFamily(options.model, architecture.family, file);
    yield {
      kind: 'stage',
      stage: 'import',
      message: `${architecture.title}: ${names.length} tensors from ${basename(source)}`,
    };
    if (weights.others.length > 0) {
      yield {
        kind: 'note',
        message: `taken: the weights under "${weights.entry}"; there are others under ${weights.others.join(', ')} (--entry)`,
      };
    }
    try {
      if (architecture.part === 'tokenizer') writeTokenizer(temporary, checkpoint);
      else writeGenerator(temporary, checkpoint, options, folder);
    } finally {
      checkpoint.reader.close();
    }
    moveIntoPlace(temporary, out);
    yield {
      kind: 'file',
      path: out,
      what: architecture.part === 'tokenizer' ? 'the tokenizer folder' : 'the model folder',
    };
    const { family, part } = architecture;
    yield { kind: 'result', result: { out, family, part, config, tensors: names.length, entry: weights.entry } };
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The file itself, or the one of a folder that holds the network. */
function weightsFile(source: string): string {
  if (!statSync(source).isDirectory()) return source;
  if (isCheckpointFolder(source)) return join(source, EMA_FILE);
  if (existsSync(join(source, CONSOLIDATED))) return join(source, CONSOLIDATED);
  throw new PipelineError(
    'CHECKPOINT_FOLDER',
    `${source}: expected a weights file, or a folder with ${EMA_FILE} in it, or with ${CONSOLIDATED}.`,
  );
}

interface Checkpoint {
  reader: FileByteReader;
  weights: WeightsInFile;
  architecture: Architecture;
  config: Record<string, unknown>;
  /** Of all tensors, in official order. */
  names: string[];
}

/** Opens a weights file and checks it whole, but for the values. */
function openCheckpoint(
  path: string,
  options: GivenFields & { family?: string | undefined; entry?: string | undefined },
): Checkpoint {
  const reader = openFile(path);
  try {
    const weights = readWeights(reader, options.entry);
    const shapes = shapesOf(weights.tensors);
    const architecture = recogniseArchitecture(shapes);
    if (architecture === undefined || (options.family !== undefined && architecture.family !== options.family)) {
      const expected = options.family ?? 'a checkpoint of a known architecture';
      throw new PipelineError(
        'ARCHITECTURE',
        `${path}: expected ${expected}, but it looks like ${describeCheckpoint(shapes)}.`,
      );
    }
    const config = architecture.infer(shapes, options, path);
    const expected = architecture.shapes(config);
    checkShapes(expected, shapes, path);
    for (const [name, { dtype }] of weights.tensors) {
      if (expected.has(name) && !isDType(dtype)) {
        throw new PipelineError('WEIGHTS', `${path}: "${name}" is ${dtype}, a type that no network here has.`);
      }
    }
    return { reader, weights, architecture, config, names: [...expected.keys()] };
  } catch (error) {
    reader.close();
    throw error;
  }
}

function writeTokenizer(folder: string, { architecture, config, weights, names, reader }: Checkpoint): void {
  mkdirSync(folder, { recursive: true });
  writeTokenizerDescription(folder, { family: architecture.family, config });
  writeSafetensors(join(folder, 'model.safetensors'), names, weights.tensors, reader.name);
}

function writeGenerator(folder: string, checkpoint: Checkpoint, options: ImportOptions, withTraining: boolean): void {
  const { architecture, config, weights, names, reader } = checkpoint;
  const { gridSize, numClasses } = config as { gridSize: number; numClasses: number };
  const factor = addTokenizer(join(folder, 'tokenizer'), options);
  const imageSize = gridSize * factor;
  writeModelDescription(folder, {
    family: architecture.family as FamilyName,
    imageSize,
    config: config as unknown as GeneratorConfig,
    classes: readClasses(options.classes, numClasses),
    strategy: strategyFor(options, architecture.family as FamilyName, { ...config, gridSize }),
    card: `# ${architecture.title}, ${imageSize} px\n\nImported from \`${basename(options.source)}\`.\n`,
  });
  // Sizes of model, tokenizer and class names are compared before the weights are copied.
  readModelFolder(folder);
  writeSafetensors(join(folder, 'model.safetensors'), names, weights.tensors, reader.name);
  if (withTraining) importTraining(options.source, folder, architecture.shapes(config));
  else if (architecture.family === 'gpt' && weights.format !== 'safetensors') {
    importLlamagenTraining(reader, weights.entry, folder, architecture.shapes(config));
  }
}

/** Copies or imports the tokenizer; returns pixels of a token's side. */
function addTokenizer(folder: string, { tokenizer, source }: ImportOptions): number {
  if (tokenizer === undefined) {
    throw new PipelineError(
      'TOKENIZER',
      `${source} is a generator: name its tokenizer as well (--tokenizer, a tokenizer folder, a model folder or an official file).`,
    );
  }
  const inner = [join(tokenizer, 'tokenizer'), tokenizer].find((path) => existsSync(join(path, 'config.json')));
  if (inner !== undefined) {
    const { family, config } = readTokenizerConfig(inner);
    mkdirSync(folder, { recursive: true });
    writeTokenizerDescription(folder, { family, config });
    const reader = openFile(join(inner, 'model.safetensors'));
    try {
      const { tensors } = readWeights(reader);
      writeSafetensors(join(folder, 'model.safetensors'), tensors.keys(), tensors, reader.name);
    } finally {
      reader.close();
    }
    return tokenizerFamily(family).downsampleFactor(config);
  }
  const checkpoint = openCheckpoint(tokenizer, {});
  try {
    const { family, part, title } = checkpoint.architecture;
    if (part !== 'tokenizer')
      throw new PipelineError('TOKENIZER', `${tokenizer}: expected a tokenizer, but it looks like ${title}.`);
    writeTokenizer(folder, checkpoint);
    return tokenizerFamily(family).downsampleFactor(checkpoint.config);
  } finally {
    checkpoint.reader.close();
  }
}

function readClasses(path: string | undefined, count: number): string[] {
  const standard = path === undefined ? classNamesOf(count) : undefined;
  if (standard !== undefined) return standard;
  if (path === undefined || path === 'labels') return Array.from({ length: count }, (_, label) => String(label));
  return readConfig(path, z.array(z.string()));
}

/** The preset's that is named, or of these sizes, or its family's, unless a strategy is named. */
function strategyFor(
  { strategy, model }: ImportOptions,
  family: FamilyName,
  config: { gridSize: number },
): SamplingSettings {
  if (strategy !== undefined) return chooseSampling({ strategy }, undefined, familyOf(family).generation);
  return model === undefined ? strategyOfSizes(family, config) : presetStrategy(model);
}
