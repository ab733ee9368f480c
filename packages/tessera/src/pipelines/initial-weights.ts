/**
 * Weights to start a training from: another model folder, a run's checkpoint, an official file. What is to be learned
 * anew, such as the class table for other classes, is named and keeps its random values; everything else must fit.
 */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { noGrad, scope, type Tensor } from '@tessera/torch';
import { sha256OfFile } from '../data/hash-file.ts';
import type { Module } from '../nn/module.ts';
import { hasStored, wholeFile } from '../training/stored-tensors.ts';
import { PipelineError } from './events.ts';
import { loadWeights } from './load-weights.ts';
import { modelOf } from './model-folder.ts';

export interface CopiedWeights {
  copied: number;
  /** Names that kept their own values. */
  kept: string[];
}

export interface InitialWeights {
  initFrom?: string | undefined;
  entry?: string | undefined;
  ignoreKeys?: readonly string[] | undefined;
}

/** Refuses what is said of weights to start from where there are none. */
export function checkInitialWeights({ initFrom, entry, ignoreKeys = [] }: InitialWeights): void {
  if (initFrom !== undefined || (entry === undefined && ignoreKeys.length === 0)) return;
  const flag = entry === undefined ? '--ignore-keys' : '--entry';
  throw new PipelineError('OPTIONS', `${flag} speaks of weights to start from: name them with --init-from.`);
}

/** What tells weights to start from apart in a run's settings, wherever they lie; undefined where there are none. */
export function initialIdentity(weights: InitialWeights): Record<string, unknown> | undefined {
  const { initFrom, entry, ignoreKeys = [] } = weights;
  if (initFrom === undefined) return undefined;
  return { initFrom: `sha256 ${sha256OfFile(weightsIn(initFrom))}`, entry: entry ?? null, ignoreKeys };
}

/**
 * @param ignored names, or beginnings of names, of tensors that keep their values
 * @param entry which state dict of a file that has several, such as `ema`
 */
export function copyInitialWeights(
  model: Module,
  path: string,
  ignored: readonly string[],
  entry?: string,
): CopiedWeights {
  const file = weightsIn(path);
  const isIgnored = (name: string) => ignored.some((key) => name === key || name.startsWith(key));
  const unused = ignored.filter((key) => ![...model.state.keys()].some((name) => name === key || name.startsWith(key)));
  if (unused.length > 0) {
    throw new PipelineError('OPTIONS', `No tensor of this model is called ${unused.join(', ')}, or begins so.`);
  }
  return noGrad(() =>
    scope(() => {
      const given = loadWeights(file, entry);
      const kept = [...model.state.keys()].filter(isIgnored);
      const problems = [...model.state].flatMap(([name, own]) =>
        isIgnored(name) ? [] : (problemOf(name, own, given.get(name)) ?? []),
      );
      const surplus = [...given.keys()].filter((name) => !model.state.has(name) && !isIgnored(name));
      problems.push(...surplus.map((name) => `${name}: not in this model`));
      if (problems.length > 0) {
        const shown = problems.slice(0, 6).join('; ');
        const more = problems.length > 6 ? ` and ${problems.length - 6} more` : '';
        throw new PipelineError(
          'WEIGHTS',
          `${file} does not fit this model: ${shown}${more}. Name what is to be learned anew with --ignore-keys.`,
        );
      }
      for (const [name, own] of model.state) if (!isIgnored(name)) own.copy_(given.get(name)!);
      return { copied: model.state.size - kept.length, kept };
    }),
  );
}

function problemOf(name: string, own: Tensor, given: Tensor | undefined): string | undefined {
  if (given === undefined) return `${name}: missing`;
  const [expected, got] = [own.shape.join(', '), given.shape.join(', ')];
  return expected === got ? undefined : `${name}: expected [${expected}], got [${got}]`;
}

/** A file as it is; a folder's averaged weights. */
function weightsIn(path: string): string {
  if (hasStored(path, 'ema')) return wholeFile(path, 'ema');
  const inside = ['ema.safetensors', 'model.safetensors', 'nnet_ema.pth'].map((name) => join(path, name));
  const found = [...inside, path].find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
  if (found !== undefined) return found;
  throw new PipelineError(
    'NOT_FOUND',
    `${path}: expected weights, a model folder or a checkpoint to start from${modelOf(path)}.`,
  );
}
