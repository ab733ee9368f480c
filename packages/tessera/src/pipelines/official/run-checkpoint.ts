/** The newest checkpoint of a generator's run, or one that is named, with the settings of its run. */

import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { readConfig } from '../../data/read-config.ts';
import { type FamilyName, familyNames, familyOf } from '../../models/registry.ts';
import { resolveTrainingConfig, type TrainingConfig } from '../../training/config.ts';
import { readState } from '../../training/saved-state.ts';
import { hasStored, wholeFile } from '../../training/stored-tensors.ts';
import { PipelineError } from '../events.ts';

export interface RunCheckpoint {
  /** Folder of the checkpoint. */
  path: string;
  /** Optimizer steps done. */
  step: number;
  family: FamilyName;
  config: Record<string, unknown>;
  training: TrainingConfig;
  /** File of the averaged weights; the raw ones where the run has no average. */
  averaged: string;
}

const settingsSchema = z.object({ config: z.record(z.string(), z.unknown()), training: z.unknown() });

/** @returns undefined where the folder is neither a run nor a checkpoint of one */
export function openRunCheckpoint(source: string): RunCheckpoint | undefined {
  const named = existsSync(join(source, 'state.json'));
  const run = named ? resolve(source, '..', '..') : source;
  if (!named && !existsSync(join(run, 'checkpoints'))) return undefined;
  const path = named ? source : newestCheckpoint(join(run, 'checkpoints'));
  if (path === undefined) throw new PipelineError('CHECKPOINT', `${source}: there is no whole checkpoint.`);
  const { step, task } = readState(path);
  const family = familyNames.find((name) => name === task);
  if (family === undefined) {
    throw new PipelineError(
      'CHECKPOINT',
      `${source} is a run of ${task}, not of a generator: export the folder that it made.`,
    );
  }
  const averaged = hasStored(path, 'ema') ? 'ema' : 'model';
  // A GPT's file has all that there is of its training, the others' the averaged network.
  for (const stem of family === 'gpt' ? ['model', 'ema', 'optimizer'] : [averaged]) wholeFile(path, stem);
  const file = join(run, 'config.yaml');
  const settings = readConfig(file, settingsSchema, (text) => parseYaml(text, { maxAliasCount: 0 }));
  return {
    path,
    step,
    family,
    config: { ...parseConfig(familyOf(family).schema, settings.config, file) },
    training: resolveTrainingConfig(settings.training, file),
    averaged: `${averaged}.safetensors`,
  };
}

/** By the manifest, which is written last and removed first; nothing is cleaned up, for the run may be under way. */
function newestCheckpoint(folder: string): string | undefined {
  const steps = readdirSync(folder).filter((name) => /^step-\d{7,}$/.test(name));
  steps.sort((a, b) => Number(b.slice(5)) - Number(a.slice(5)));
  const newest = steps.find((name) => existsSync(join(folder, name, 'manifest.json')));
  return newest === undefined ? undefined : join(folder, newest);
}
