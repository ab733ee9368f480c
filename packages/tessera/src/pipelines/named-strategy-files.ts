/**
 * Strategies that a model folder keeps beside its own, by name: `strategies/NAME.yaml`, such as the results of searches. And
 * the run folder of a search stands for the strategy in it.
 */

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { replaceWhole } from '../data/whole-folder.ts';
import { PipelineError } from './events.ts';

const FOLDER = 'strategies';

/** The file that a name or path means, if there is one. */
export function strategyFile(name: string, modelFolder: string | undefined): string | undefined {
  const named = modelFolder === undefined || !isName(name) ? undefined : join(modelFolder, FOLDER, `${name}.yaml`);
  if (named !== undefined && existsSync(named)) return named;
  if (!existsSync(name)) return undefined;
  return statSync(name).isDirectory() ? join(name, 'strategy.yaml') : name;
}

/** Names that a model folder knows. */
export function namedStrategies(modelFolder: string | undefined): string[] {
  const folder = modelFolder === undefined ? undefined : join(modelFolder, FOLDER);
  if (folder === undefined || !existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

/** Copies a strategy file into a model folder; returns where it is. */
export function saveStrategy(modelFolder: string, name: string, from: string): string {
  checkStrategyName(name);
  const path = join(modelFolder, FOLDER, `${name}.yaml`);
  mkdirSync(join(modelFolder, FOLDER), { recursive: true });
  replaceWhole(path, readFileSync(from));
  return path;
}

/** Takes the strategies of a model folder over into the one that is to replace it. */
export function keepNamedStrategies(from: string, to: string): void {
  const folder = join(from, FOLDER);
  if (existsSync(folder)) cpSync(folder, join(to, FOLDER), { recursive: true });
}

export function checkStrategyName(name: string): void {
  if (isName(name)) return;
  throw new PipelineError('OPTIONS', `Expected a name of letters, digits, '-', '_' and '.', got "${name}".`);
}

function isName(name: string): boolean {
  return /^[\p{L}\p{N}_-][\p{L}\p{N}_.-]{0,99}$/u.test(name);
}
