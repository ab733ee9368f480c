/**
 * The five-file training checkpoint of AutoNAT and ENAT (reference §4): step.pth, nnet.pth, nnet_ema.pth, optimizer.pth,
 * lr_scheduler.pth. The averaged network is the model; the rest is kept beside it, under the names of the parameters
 * that the optimizer knows by number:
 *
 *   training/net.safetensors        the raw network
 *   training/optimizer.safetensors  PARAMETER.step, .exp_avg, .exp_avg_sq
 *   training/training.json          step, settings of the optimizer, state of the learning rate
 */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  atPath,
  OrderedDict,
  PickleTuple,
  readTorchCheckpoint,
  TorchTensor,
  type TorchValue,
  type TorchWritable,
  torchCheckpointChunks,
} from '@tessera/formats';
import { openFile, withFile } from '@tessera/formats/node';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { readConfig } from '../../data/read-config.ts';
import { checkShapes, type Shapes, shapesOf } from '../../nn/state-dict.ts';
import { PipelineError } from '../events.ts';
import { type FileTensor, readWeights } from './read-weights.ts';
import { writeChunks, writeSafetensors } from './tensor-file.ts';

/** The averaged network's file, by which such a folder is known. */
export const EMA_FILE = 'nnet_ema.pth';
const FILES = ['step.pth', 'nnet.pth', EMA_FILE, 'optimizer.pth', 'lr_scheduler.pth'];

/** Plain data of a pickle as JSON holds it: numbers, texts, lists, null. */
const plain = z.json();

const trainingSchema = strictConfig({
  formatVersion: z.literal(1),
  step: z.int().min(0),
  /** Entry by entry, without the list of parameters. */
  paramGroups: z.array(z.record(z.string(), plain)).length(1),
  scheduler: z.record(z.string(), plain),
});

export function isCheckpointFolder(path: string): boolean {
  return existsSync(join(path, EMA_FILE));
}

/** Reads all but the averaged network into `training/` of a model folder. */
export function importTraining(source: string, out: string, expected: Shapes): void {
  const missing = FILES.filter((file) => !existsSync(join(source, file)));
  if (missing.length > 0) {
    throw new PipelineError(
      'CHECKPOINT_FOLDER',
      `${source}: expected ${FILES.join(', ')}; there is no ${missing.join(', no ')}.`,
    );
  }
  mkdirSync(join(out, 'training'));
  const names = [...expected.keys()];
  withFile(join(source, 'nnet.pth'), (reader) => {
    const { tensors } = readWeights(reader);
    checkShapes(expected, shapesOf(tensors), reader.name);
    writeSafetensors(join(out, 'training', 'net.safetensors'), names, tensors, reader.name);
  });
  const paramGroups = withFile(join(source, 'optimizer.pth'), (reader) => {
    const optimizer = readTorchCheckpoint(reader, { verify: true });
    const moments = optimizerTensors(optimizer, names, expected, reader.name);
    writeSafetensors(join(out, 'training', 'optimizer.safetensors'), moments.keys(), moments, reader.name);
    return paramGroupsOf(optimizer, reader.name).map((group) => {
      const { params: _, ...settings } = plainObject(group);
      return settings;
    });
  });
  const step = withFile(join(source, 'step.pth'), (reader) => readTorchCheckpoint(reader));
  const scheduler = withFile(join(source, 'lr_scheduler.pth'), (reader) => plainObject(readTorchCheckpoint(reader)));
  const training = parseConfig(trainingSchema, { formatVersion: 1, step, paramGroups, scheduler }, source);
  writeFileSync(join(out, 'training', 'training.json'), `${JSON.stringify(training, undefined, 2)}\n`);
}

/** The five files from a model folder with `training/`. The folder is made. */
export function exportTraining(source: string, out: string, names: readonly string[]): void {
  const from = join(source, 'training');
  if (!existsSync(join(from, 'training.json'))) {
    throw new PipelineError(
      'NO_TRAINING_STATE',
      `${source} has no training state (training/training.json), only weights: export them as one file, without --checkpoint-folder.`,
    );
  }
  const where = join(from, 'training.json');
  const { step, paramGroups, scheduler } = readConfig(where, trainingSchema);
  mkdirSync(out, { recursive: true });
  writeStateDict(join(source, 'model.safetensors'), join(out, EMA_FILE), names);
  writeStateDict(join(from, 'net.safetensors'), join(out, 'nnet.pth'), names);
  const settings = new Map<string, TorchWritable>(
    Object.entries(paramGroups[0]!).map(([key, value]) => [key, writable(key, value)]),
  );
  settings.set('params', names.map((_, i) => i)); // biome-ignore format: short
  writeOptimizer(join(from, 'optimizer.safetensors'), join(out, 'optimizer.pth'), names, settings);
  writeChunks(join(out, 'step.pth'), torchCheckpointChunks(step, { name: 'step' }));
  const state = new Map(Object.entries(scheduler).map(([key, value]) => [key, writable(key, value)]));
  writeChunks(join(out, 'lr_scheduler.pth'), torchCheckpointChunks(state, { name: 'lr_scheduler' }));
}

/**
 * A file of a bare state dict, its tensors in the order of `names`; wrapped under `entry` where that is not empty.
 *
 * @param finalPath what the file will be called, which the archive inside is named after
 */
export function writeStateDict(
  source: string,
  target: string,
  names: readonly string[],
  entry = '',
  finalPath = target,
): void {
  const reader = openFile(source);
  try {
    const { tensors } = readWeights(reader);
    const state = new OrderedDict<FileTensor>(names.map((name) => [name, tensors.get(name)!]));
    const value: TorchWritable = entry === '' ? state : new Map([[entry, state]]);
    writeChunks(target, torchCheckpointChunks(value, { name: archiveName(finalPath) }));
  } finally {
    reader.close();
  }
}

function writeOptimizer(
  source: string,
  target: string,
  names: readonly string[],
  settings: Map<string, TorchWritable>,
): void {
  withFile(source, (reader) => {
    const { tensors } = readWeights(reader);
    const state = new Map<number, TorchWritable>();
    for (const [i, name] of names.entries()) {
      const fields = FIELDS.flatMap((field) => {
        const tensor = tensors.get(`${name}.${field}`);
        return tensor === undefined ? [] : [[field, tensor] as const];
      });
      // A parameter that never had a gradient has no entry.
      if (fields.length > 0) state.set(i, new Map(fields));
    }
    const value = new Map<string, TorchWritable>([
      ['state', state],
      ['param_groups', [settings]],
    ]);
    writeChunks(target, torchCheckpointChunks(value, { name: 'optimizer' }));
  });
}

const FIELDS = ['step', 'exp_avg', 'exp_avg_sq'];

/**
 * AdamW's moments by `PARAMETER.field`, their shapes checked.
 *
 * @param names of the parameters as the optimizer numbers them
 * @param expected shapes of the parameters
 */
export function optimizerTensors(
  optimizer: TorchValue,
  names: readonly string[],
  expected: Shapes,
  where: string,
): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>();
  const state = atPath(optimizer, ['state']);
  if (!(state instanceof Map)) throw brokenOptimizer(where, `expected a dict as state, got ${describe(state)}`);
  for (const [index, fields] of state) {
    const name = typeof index === 'number' ? names[index] : undefined;
    if (name === undefined || !(fields instanceof Map)) {
      throw brokenOptimizer(where, `expected parameters 0 to ${names.length - 1}, got one numbered ${String(index)}`);
    }
    for (const [field, value] of fields) {
      if (!FIELDS.includes(String(field))) continue; // of amsgrad, which these trainers do not use
      const tensor = value instanceof TorchTensor ? fileTensor(value) : scalar(value);
      const wanted = field === 'step' ? [] : expected.get(name)!;
      if (tensor === undefined || tensor.shape.join() !== wanted.join()) {
        const got = tensor === undefined ? describe(value) : `[${tensor.shape.join(', ')}]`;
        throw brokenOptimizer(where, `expected ${name}.${String(field)} to be [${wanted.join(', ')}], got ${got}`);
      }
      tensors.set(`${name}.${String(field)}`, tensor);
    }
  }
  return tensors;
}

/** The parameter groups of an optimizer's state. */
export function paramGroupsOf(optimizer: TorchValue, where: string): TorchValue[] {
  const groups = atPath(optimizer, ['param_groups']);
  if (!Array.isArray(groups)) throw brokenOptimizer(where, `expected a list as param_groups, got ${describe(groups)}`);
  return groups;
}

function fileTensor(tensor: TorchTensor): FileTensor {
  const { dtype, shape } = tensor;
  return { dtype, shape, bytes: () => tensor.contiguousBytes() };
}

/** Older PyTorch keeps the number of steps as a plain number, newer ones as a float32 tensor. */
function scalar(value: TorchValue): FileTensor | undefined {
  if (typeof value !== 'number') return undefined;
  return { dtype: 'float32', shape: [], bytes: () => new Uint8Array(Float32Array.of(value).buffer) };
}

function describe(value: TorchValue): string {
  if (value === null) return 'None';
  return Array.isArray(value) ? 'a list' : value instanceof Map ? 'a dict' : `a ${typeof value}`;
}

function brokenOptimizer(where: string, what: string): PipelineError {
  return new PipelineError('CHECKPOINT_FOLDER', `${where}: the optimizer is broken: ${what}.`);
}

function plainObject(value: TorchValue): Record<string, unknown> {
  return value instanceof Map ? Object.fromEntries(value) : {};
}

type Json = z.output<typeof plain>;

/** torch writes betas as a tuple; all other sequences are lists. */
function writable(key: string, value: Json): TorchWritable {
  if (Array.isArray(value)) {
    const items = value.map((item) => writable('', item));
    return key === 'betas' ? new PickleTuple(items) : items;
  }
  if (typeof value === 'object' && value !== null) {
    return new Map(Object.entries(value).map(([name, item]) => [name, writable(name, item)]));
  }
  return value;
}

/** As torch.save names the folder inside: the file without its extension. */
function archiveName(path: string): string {
  const file = path.split('/').at(-1)!;
  return file.includes('.') ? file.slice(0, file.lastIndexOf('.')) || 'archive' : file;
}
