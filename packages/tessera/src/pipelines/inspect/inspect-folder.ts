/** Model folders, run folders and token data sets at a glance. Weights stay on disk: headers tell what is counted. */

import { existsSync, readdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { isAutoregressive, maskCounts, type SamplingSettings } from '@tessera/schedule';

import { z } from 'zod';
import { readConfig } from '../../data/read-config.ts';
import { treeSizes } from '../../data/tokens/llamagen-tree.ts';
import { openStoredTokens } from '../../data/tokens/open-tokens.ts';
import { gridSideOf } from '../../data/tokens/token-rows.ts';
import { tokenizerFamily } from '../../tokenizers/registry.ts';
import { PipelineError } from '../events.ts';
import { readModelFolder, readTokenizerConfig } from '../model-folder.ts';
import { inspectFile } from './inspect-file.ts';
import type {
  Inspection,
  ModelInspection,
  RunInspection,
  TokenizerInspection,
  TokensInspection,
} from './inspection.ts';

/** More than the longest line of metrics. */
const TAIL_BYTES = 1 << 16;

export async function inspectFolder(path: string): Promise<Inspection> {
  if (holdsImages(path)) {
    throw new PipelineError(
      'INSPECT_FOLDER',
      `${path} is a data set of images: "tessera tokenize" makes tokens of it.`,
    );
  }
  if (existsSync(join(path, 'dataset.json')) || treeSizes(path).length > 0) return inspectTokens(path);
  if (existsSync(join(path, 'tokenizer', 'config.json')) && existsSync(join(path, 'config.json')))
    return inspectModel(path);
  if (existsSync(join(path, 'config.json'))) return inspectTokenizer(path);
  // A checkpoint of a run.
  const weights = ['ema', 'model'].map((name) => join(path, `${name}.safetensors`)).find((file) => existsSync(file));
  if (weights !== undefined) return inspectFile(weights);
  if (['metrics.jsonl', 'plan.json'].some((file) => existsSync(join(path, file)))) return inspectRun(path);
  throw new PipelineError(
    'INSPECT_FOLDER',
    `${path}: expected a model folder or tokenizer folder (config.json), a run folder (metrics.jsonl or plan.json), a checkpoint or a token data set (dataset.json).`,
  );
}

/** As `tessera demo` draws them: their description has no version, that of tokens has one. */
function holdsImages(path: string): boolean {
  const description = join(path, 'dataset.json');
  if (!existsSync(description)) return false;
  const content = readConfig(description, z.record(z.string(), z.unknown()));
  return !('formatVersion' in content) && ['train', 'val'].some((name) => existsSync(join(path, name)));
}

function inspectTokenizer(path: string): TokenizerInspection {
  const { family, config } = readTokenizerConfig(path);
  const { elements, byteLength } = inspectFile(join(path, 'model.safetensors')).totals;
  const pixelsPerToken = tokenizerFamily(family).downsampleFactor(config);
  return { kind: 'tokenizer', path, family, config, pixelsPerToken, numParameters: elements, byteLength };
}

function inspectModel(path: string): ModelInspection {
  const { family, imageSize, config, tokenizerFamily, tokenizerConfig, classes, strategy } = readModelFolder(path);
  const weights = [join(path, 'model.safetensors'), join(path, 'tokenizer', 'model.safetensors')].map(
    (file) => inspectFile(file).totals,
  );
  return {
    kind: 'model',
    path,
    family,
    imageSize,
    config: { ...config },
    tokenizer: { family: tokenizerFamily, ...tokenizerConfig },
    numParameters: { model: weights[0]!.elements, tokenizer: weights[1]!.elements },
    byteLength: weights[0]!.byteLength + weights[1]!.byteLength,
    classes,
    strategy: inspectSampling(strategy, config.gridSize ** 2),
  };
}

function inspectSampling(settings: SamplingSettings, seqLen: number): ModelInspection['strategy'] {
  if (isAutoregressive(settings)) return settings;
  const { maskedIn, newlyFixed } = maskCounts(settings, seqLen);
  const steps = settings.steps.map((step, i) => ({ ...step, maskedIn: maskedIn[i]!, newlyFixed: newlyFixed[i]! }));
  return { remask: settings.remask, steps };
}

async function inspectRun(path: string): Promise<RunInspection> {
  const folder = join(path, 'checkpoints');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const checkpoints = names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return {
    kind: 'run',
    path,
    checkpoints: checkpoints.sort((a, b) => a - b),
    lastMetrics: await lastMetrics(join(path, 'metrics.jsonl')),
    parts: runParts(path),
  };
}

/** The runs and the model inside the run of a `fit`. */
function runParts(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) =>
      ['metrics.jsonl', 'config.json', 'dataset.json'].some((file) => existsSync(join(path, name, file))),
    )
    .sort();
}

/** The last whole line of each kind; a line that is still being written, or broken, is passed over. */
async function lastMetrics(path: string): Promise<Record<string, unknown>[]> {
  if (!existsSync(path)) return [];
  const file = await open(path);
  let text: string;
  try {
    const { size } = await file.stat();
    const length = Math.min(TAIL_BYTES, size);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    text = buffer.toString('utf8');
  } finally {
    await file.close();
  }
  const last = new Map<unknown, Record<string, unknown>>();
  for (const line of text.split('\n')) {
    try {
      const record = JSON.parse(line) as Record<string, unknown>;
      last.set(record.kind, record);
    } catch {
      // The first line of the tail is cut, the last one may be.
    }
  }
  return [...last.values()];
}

function inspectTokens(path: string): TokensInspection {
  const dataset = openStoredTokens(path);
  try {
    const rowsByClass = new Array<number>(dataset.classes.length).fill(0);
    const seen = new Uint8Array(dataset.codebookSize);
    for (const { label, tokens } of dataset.images()) {
      rowsByClass[label]! += 1;
      for (const token of tokens) seen[token] = 1;
    }
    return {
      kind: 'tokens',
      path,
      numRows: dataset.numRows,
      picturesPerImage: dataset.picturesPerImage,
      gridSize: gridSideOf(dataset.seqLen, path),
      codebookSize: dataset.codebookSize,
      byteLength: dataset.byteLength,
      classes: dataset.classes.map((name, label) => ({ name, rows: rowsByClass[label]! })),
      codesUsed: seen.reduce((total, flag) => total + flag, 0),
    };
  } finally {
    dataset.dispose();
  }
}
