/**
 * Looks into files and folders: tensor files by content, model folders, run folders, token data sets. The result is
 * plain data. A token data set can be decoded back to pictures, with the tokenizer that made it.
 */

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { noGrad, scope } from '@tessera/torch';
import { openStoredTokens } from '../data/tokens/open-tokens.ts';
import type { ModelPreset } from '../models/presets.ts';
import type { StrategyChoice } from './choose-strategy.ts';
import { decodeTokens } from './decode-tokens.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { flagName } from './flag-name.ts';
import { inspectFile } from './inspect/inspect-file.ts';
import { inspectFolder } from './inspect/inspect-folder.ts';
import { inspectPreset } from './inspect/inspect-preset.ts';
import { openTokenizer } from './model-folder.ts';
import { savePicture } from './pictures.ts';

export interface InspectOptions extends StrategyChoice {
  /** File or folder. */
  path?: string | undefined;
  /** A model size instead, with the strategy whose cost is counted. */
  model?: ModelPreset | undefined;
  /** With `model`: the side of its token grid; default: the preset's. */
  gridSize?: number | undefined;
  /** Only tensors and values whose name holds this. */
  filter?: string | undefined;
  /** Of a token data set: decode this many rows, spread evenly. */
  images?: number | undefined;
  /** The picture for them. */
  out?: string | undefined;
  /** Tokenizer folder or model folder; default: the one beside the data set. */
  tokenizer?: string | undefined;
  /** Of a token data set: compare every byte with its checksum and every token with its range. */
  verify?: boolean | undefined;
}

/** The result is an `Inspection`. */
export async function* inspect(options: InspectOptions): AsyncGenerator<PipelineEvent> {
  const { path, model, filter, images, verify } = options;
  if (model !== undefined) {
    const stray = Object.entries({ filter, images, verify }).find(([, value]) => value !== undefined);
    if (stray !== undefined) {
      throw new PipelineError('OPTIONS', `${flagName(stray[0])} is of files and folders: leave it or --model out.`);
    }
    yield { kind: 'result', result: { ...inspectPreset(model, options) } };
    return;
  }
  if (path === undefined) throw new PipelineError('OPTIONS', 'Expected a file, a folder or the name of a model.');
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  const isFolder = statSync(path).isDirectory();
  if (isFolder && filter !== undefined) {
    throw new PipelineError('OPTIONS', `--filter is of a file's tensors, and ${path} is a folder: leave it out.`);
  }
  const found = isFolder ? await inspectFolder(path) : inspectFile(path, filter);
  if ((images !== undefined || options.verify === true) && found.kind !== 'tokens') {
    throw new PipelineError('OPTIONS', `${path} is no token data set: there is nothing to decode or to verify.`);
  }
  if (options.verify === true) {
    verifyTokens(path);
    yield { kind: 'note', message: `${path}: every checksum and every token is as it should be` };
  }
  if (images !== undefined) {
    const out = options.out ?? `${path.replace(/\/+$/, '')}.png`;
    await writeRows(path, images, out, options.tokenizer);
    yield { kind: 'file', path: out, what: 'decoded rows' };
  }
  yield { kind: 'result', result: { ...found } };
}

function verifyTokens(path: string): void {
  const dataset = openStoredTokens(path);
  try {
    dataset.verify();
  } finally {
    dataset.dispose();
  }
}

async function writeRows(path: string, count: number, out: string, tokenizerPath: string | undefined): Promise<void> {
  const dataset = openStoredTokens(path);
  const tokenizer = openTokenizer(findTokenizer(path, tokenizerPath));
  try {
    if (tokenizer.codebookSize !== dataset.codebookSize) {
      throw new PipelineError(
        'TOKENIZER',
        `The data set's codebook has ${dataset.codebookSize} codes, the tokenizer's ${tokenizer.codebookSize}: name the tokenizer that made it.`,
      );
    }
    const total = Math.min(count, dataset.numRows);
    const rows = Array.from({ length: total }, (_, i) => Math.floor((i * dataset.numRows) / total));
    const pictures = noGrad(() => scope(() => decodeTokens(tokenizer, dataset.rows(rows, undefined).tokens)));
    mkdirSync(dirname(out), { recursive: true });
    await savePicture(out, pictures, { scale: Math.max(1, Math.round(64 / pictures[0]!.width)) });
  } finally {
    dataset.dispose();
    tokenizer.dispose();
  }
}

/** A tokenizer folder as given or inside a model folder; else `tokenizer/` in or beside the data set. */
function findTokenizer(dataset: string, given: string | undefined): string {
  const places =
    given === undefined
      ? [join(dataset, 'tokenizer'), join(dataset, '..', 'tokenizer'), join(dataset, '..', '..', 'tokenizer')]
      : [join(given, 'tokenizer'), given];
  const found = places.find((place) => existsSync(join(place, 'config.json')));
  if (found !== undefined) return found;
  throw new PipelineError(
    'TOKENIZER',
    given === undefined
      ? `There is no tokenizer beside ${dataset}: name the tokenizer folder or model folder that made it.`
      : `${given}: expected a tokenizer folder or a model folder.`,
  );
}
