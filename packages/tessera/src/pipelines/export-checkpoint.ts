/**
 * `tessera export`: a model folder, a tokenizer folder or a generator's run as the checkpoint that the official code loads
 * strictly. Names, order, values and types are those of the folder, which are the official ones; nothing is converted.
 * A GPT's file holds what there is of its training too, as its trainer's does; of other runs, the averaged network.
 */

import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readSafetensorsHeader } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { moveIntoPlace, requireFree, requireReplaceable, temporaryFor } from '../data/whole-folder.ts';
import type { GptConfig } from '../models/gpt-config.ts';
import { checkShapes, shapesOf } from '../nn/state-dict.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { readModelFolder, readTokenizerConfig } from './model-folder.ts';
import { architectureOf } from './official/architectures.ts';
import { EMA_FILE, exportTraining, writeStateDict } from './official/checkpoint-folder.ts';
import { exportLlamagen, exportLlamagenRun } from './official/llamagen-training.ts';
import { openRunCheckpoint } from './official/run-checkpoint.ts';

export interface ExportOptions {
  /** A model folder, a tokenizer folder, a generator's run folder or one of its checkpoints. */
  source: string;
  /** File to write, or with `checkpointFolder` the folder. */
  out: string;
  /** Of a model folder: which half; default `generator`. */
  part?: 'generator' | 'tokenizer' | undefined;
  /** The five files of AutoNAT and ENAT, from a model folder that has its training state. */
  checkpointFolder?: boolean | undefined;
}

export async function* exportCheckpoint(options: ExportOptions): AsyncGenerator<PipelineEvent> {
  const { source, out, checkpointFolder = false } = options;
  const run = openRunCheckpoint(source);
  const { path, family, config } = run ?? locate(source, options.part);
  const architecture = architectureOf(family);
  const expected = architecture.shapes(config);
  // Of a run of other families, the averaged network, as their published files are.
  const weights = join(path, run !== undefined && family !== 'gpt' ? run.averaged : 'model.safetensors');
  withFile(weights, (reader) => checkShapes(expected, shapesOf(readSafetensorsHeader(reader).tensors), weights));
  const names = [...expected.keys()];
  yield { kind: 'stage', stage: 'export', message: `${architecture.title}: ${names.length} tensors` };
  if (checkpointFolder) requireReplaceable(out, EMA_FILE, [source]);
  else requireFree(out);
  const temporary = temporaryFor(out);
  mkdirSync(dirname(out), { recursive: true });
  try {
    if (checkpointFolder) {
      if (architecture.part !== 'generator' || architecture.entry !== '') {
        throw new PipelineError(
          'CHECKPOINT_FOLDER',
          `${architecture.title} has no checkpoint folder: only AutoNAT and ENAT do.`,
        );
      }
      if (run !== undefined) {
        throw new PipelineError('CHECKPOINT_FOLDER', `${source} is a run: only its averaged network can be exported.`);
      }
      exportTraining(path, temporary, names);
    } else if (run !== undefined && family === 'gpt') {
      exportLlamagenRun(path, temporary, names, { ...run, config: run.config as unknown as GptConfig, finalPath: out });
    } else if (family === 'gpt') {
      exportLlamagen(path, temporary, names, out);
    } else {
      writeStateDict(weights, temporary, names, architecture.entry, out);
    }
    moveIntoPlace(temporary, out);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  yield { kind: 'file', path: out, what: checkpointFolder ? 'the checkpoint folder' : 'the checkpoint' };
  yield {
    kind: 'result',
    result: { out, family, part: architecture.part, tensors: names.length, entry: architecture.entry },
  };
}

function locate(
  source: string,
  part: ExportOptions['part'],
): { path: string; family: string; config: Record<string, unknown> } {
  const inner = join(source, 'tokenizer');
  const isModel = existsSync(join(inner, 'config.json'));
  if (!isModel) {
    if (!existsSync(join(source, 'config.json'))) {
      throw new PipelineError(
        'MODEL_FOLDER',
        `${source}: expected a model folder or a tokenizer folder (config.json), or a run of a generator (checkpoints/).`,
      );
    }
    if (part === 'generator')
      throw new PipelineError('OPTIONS', `${source} is a tokenizer folder: it has no generator.`);
    return { path: source, ...readTokenizerConfig(source) };
  }
  if (part === 'tokenizer') return { path: inner, ...readTokenizerConfig(inner) };
  const { family, config } = readModelFolder(source);
  return { path: source, family, config: { ...config } };
}
