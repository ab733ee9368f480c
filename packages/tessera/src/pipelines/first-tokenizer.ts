/**
 * First weights of a tokenizer's training from any checkpoint: a model or tokenizer folder of ours, or a weights file as
 * `import` reads it (official/read-weights.ts). What the file must hold is what the
 * network has; names that begin with an ignored prefix start fresh instead, whatever the file says of them.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { manualSeed, noGrad, scope, type Tensor } from '@tessera/torch';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { initialise, type ParameterBuilder } from '../nn/module.ts';
import { StateDictError, shapesOf } from '../nn/state-dict.ts';
import {
  type TokenizerFamilyName,
  tokenizerFamily,
  tokenizerFamilyNames,
  tokenizerPresets,
} from '../tokenizers/registry.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { PipelineError } from './events.ts';
import { checkInitialWeights } from './initial-weights.ts';
import { loadWeights } from './load-weights.ts';
import { openAnyTokenizer } from './model-folder.ts';

/** A tokenizer to train: its sizes, and its first weights where they come from somewhere. */
export interface FirstTokenizer {
  family: TokenizerFamilyName;
  config: Readonly<Record<string, unknown>>;
  /** Holds the first weights; owned by the caller. */
  network?: Tokenizer;
  /** Tensors that started fresh although the checkpoint was given. */
  fresh: string[];
}

export interface FirstTokenizerOptions {
  /** Preset; default with `initFrom`: what the checkpoint is. */
  model: string | undefined;
  codebookSize: number | undefined;
  /** Folder or file. */
  initFrom: string | undefined;
  /** Which state dict of a file that has several, such as `ema`. */
  entry?: string | undefined;
  /** Beginnings of names. */
  ignoreKeys: readonly string[];
  seed: number;
}

export function firstTokenizer(options: FirstTokenizerOptions): FirstTokenizer {
  const { model, codebookSize, initFrom } = options;
  checkInitialWeights(options);
  const asked = model === undefined ? undefined : presetNamed(model);
  if (initFrom === undefined) {
    if (asked === undefined)
      throw new PipelineError('MODEL', 'Expected a preset (--model) or a checkpoint (--init-from).');
    return { family: asked.family, config: withCodes(asked, codebookSize).config, fresh: [] };
  }
  return scope(() => {
    const { tensors, ...found } = readCheckpoint(initFrom, options.entry, asked?.config);
    if (asked !== undefined && asked.family !== found.family) {
      const [want, got] = [asked, found].map(({ family }) => tokenizerFamily(family).title);
      throw new PipelineError('INIT_FROM', `${initFrom} is a ${got}, --model ${model} a ${want}: leave --model out.`);
    }
    const { family, config } = withCodes(asked ?? found, codebookSize);
    manualSeed(options.seed);
    const network = initialise((p: ParameterBuilder) => tokenizerFamily(family).construct(config, p));
    try {
      const fresh = overwrite(network, tensors, options);
      return { family, config, network, fresh };
    } catch (error) {
      network.dispose();
      throw error;
    }
  });
}

interface Sizes {
  family: TokenizerFamilyName;
  config: Readonly<Record<string, unknown>>;
}

function presetNamed(name: string): Sizes {
  const presets = tokenizerPresets();
  const preset = presets.get(name);
  if (preset !== undefined) return preset;
  throw new PipelineError('MODEL', `Expected a tokenizer preset (${[...presets.keys()].join(', ')}), got "${name}".`);
}

function withCodes({ family, config }: Sizes, codebookSize: number | undefined): Sizes {
  return codebookSize === undefined ? { family, config } : { family, config: { ...config, codebookSize } };
}

/** `config` — what the caller says of a file that tells nothing but shapes, which do not tell everything. */
function readCheckpoint(
  path: string,
  entry: string | undefined,
  config?: Readonly<Record<string, unknown>>,
): Sizes & { tensors: ReadonlyMap<string, Tensor> } {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new PipelineError('INIT_FROM', `${path}: no such file or folder.`);
  if (stat.isDirectory()) {
    const { tokenizer } = openAnyTokenizer(path);
    const tensors = new Map([...tokenizer.state].map(([name, tensor]) => [name, tensor.clone()]));
    tokenizer.dispose();
    return { family: tokenizer.family as TokenizerFamilyName, config: tokenizer.config, tensors };
  }
  const tensors = loadWeights(path, entry);
  const family = tokenizerFamilyNames.find((name) => tensors.has(tokenizerFamily(name).marker));
  if (family !== undefined) {
    return { family, config: config ?? configOfRun(path) ?? inferred(family, tensors, path), tensors };
  }
  const names = [...tensors.keys()].slice(0, 4).join(', ');
  const known = tokenizerFamilyNames.map((name) => tokenizerFamily(name).title).join(' or ');
  throw new PipelineError('INIT_FROM', `${path}: expected the weights of a ${known}, got tensors such as ${names}.`);
}

function inferred(family: TokenizerFamilyName, tensors: ReadonlyMap<string, Tensor>, path: string): Sizes['config'] {
  try {
    return tokenizerFamily(family).infer(shapesOf(tensors), path);
  } catch (error) {
    if (!(error instanceof StateDictError)) throw error;
    const message = `${error.message}: say which it is (--model).`;
    throw new PipelineError('INIT_FROM', message, { cause: error });
  }
}

/** The configuration in the run folder of a checkpoint's file, `RUN/checkpoints/step-N/ema.safetensors`. */
function configOfRun(path: string): Readonly<Record<string, unknown>> | undefined {
  const file = join(dirname(path), '..', '..', 'config.yaml');
  if (!/^step-\d{7,}$/.test(basename(dirname(resolve(path)))) || !existsSync(file)) return undefined;
  const { family, config } = parseConfig(runSchema, parseYaml(readFileSync(file, 'utf8'), { maxAliasCount: 0 }), file);
  return parseConfig(tokenizerFamily(family).schema, config, file);
}

/** What a run of a tokenizer says of it, among other settings. */
const runSchema = z.object({ family: z.enum(tokenizerFamilyNames), config: z.record(z.string(), z.unknown()) });

/** Copies what is not ignored; returns the names that stay fresh. */
function overwrite(
  network: Tokenizer,
  tensors: ReadonlyMap<string, Tensor>,
  { initFrom, ignoreKeys }: FirstTokenizerOptions,
): string[] {
  const isIgnored = (name: string): boolean => ignoreKeys.some((prefix) => name.startsWith(prefix));
  const problems: string[] = [];
  const fresh: string[] = [];
  for (const [name, tensor] of network.state) {
    const found = tensors.get(name);
    if (isIgnored(name)) fresh.push(name);
    else if (found === undefined) problems.push(`${name} is missing`);
    else if (found.shape.join() !== tensor.shape.join())
      problems.push(`${name}: expected [${tensor.shape.join(', ')}], got [${found.shape.join(', ')}]`);
    else if (noGrad(() => found.isfinite().all().item()) === 0) problems.push(`${name} has values that are not finite`);
    else noGrad(() => tensor.copy_(found));
  }
  for (const name of tensors.keys())
    if (!network.state.has(name) && !isIgnored(name)) problems.push(`${name} is unexpected`);
  if (problems.length === 0) return fresh;
  const shown = `${problems.slice(0, 4).join('; ')}${problems.length > 4 ? `; and ${problems.length - 4} more` : ''}`;
  throw new StateDictError(
    `${initFrom} does not fit this tokenizer: ${shown}. Leave --model and --codebook-size as the checkpoint has them, ` +
      'or name what starts fresh, as in --ignore-keys quantize.',
  );
}
