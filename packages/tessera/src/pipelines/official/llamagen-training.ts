/**
 * The training state of a GPT, between its trainer's file (llamagen-checkpoint.ts) and folders of ours. From a run it is
 * written out; with a model folder it is kept, so that an imported checkpoint goes back whole:
 *
 *   training/net.safetensors        the raw network, or the average where the model is the raw one
 *   training/optimizer.safetensors  PARAMETER.step, .exp_avg, .exp_avg_sq
 *   training/training.json          steps, settings of the optimizer, the original's arguments
 *
 * A sharded run's folder (FSDP: consolidated.pth, optimizer.00000-of-00008.pth, resume_step.txt) brings its weights
 * alone: its optimizer's shards are flat pieces whose cut depends on the run's wrapping, which no file tells.
 */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  atPath,
  PickleFloat,
  PickleTuple,
  readTorchCheckpoint,
  type TorchValue,
  type TorchWritable,
} from '@tessera/formats';
import { type FileByteReader, openFile } from '@tessera/formats/node';
import { learningRateAt, parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { readConfig } from '../../data/read-config.ts';
import type { GptConfig } from '../../models/gpt-config.ts';
import { checkShapes, type Shapes, shapesOf } from '../../nn/state-dict.ts';
import type { TrainingConfig } from '../../training/config.ts';
import { optimizerTensors, paramGroupsOf } from './checkpoint-folder.ts';
import { optimizerGroups, optimizerOrderOf, type TrainerFile, writeTrainerFile } from './llamagen-checkpoint.ts';
import { readWeights } from './read-weights.ts';
import { writeSafetensors } from './tensor-file.ts';

/** The weights of a sharded run's folder. */
export const CONSOLIDATED = 'consolidated.pth';

const plain = z.json();
const group = z.record(z.string(), plain);

const trainingSchema = strictConfig({
  formatVersion: z.literal(1),
  layout: z.literal('llamagen'),
  /** Which of the file's networks is the model. */
  entry: z.enum(['model', 'ema']),
  step: z.int().min(0),
  /** Of the parameters that decay, and of the others, without their numbers. */
  paramGroups: z.tuple([group, group]),
  args: z.record(z.string(), plain),
});

/**
 * Keeps all but the imported network, where the file is a trainer's.
 *
 * @param entry of the file, that the model was taken from
 * @returns whether there was something to keep
 */
export function importLlamagenTraining(reader: FileByteReader, entry: string, out: string, expected: Shapes): boolean {
  if (entry !== 'model' && entry !== 'ema') return false;
  const value = readTorchCheckpoint(reader);
  if (!(value instanceof Map) || !value.has('optimizer') || !value.has('steps')) return false;
  const folder = join(out, 'training');
  mkdirSync(folder);
  const other = entry === 'model' ? 'ema' : 'model';
  if (value.has(other)) {
    const { tensors } = readWeights(reader, other);
    checkShapes(expected, shapesOf(tensors), `${reader.name}, ${other}`);
    writeSafetensors(join(folder, 'net.safetensors'), expected.keys(), tensors, reader.name);
  }
  const { decaying, others } = optimizerOrderOf(expected);
  const optimizer = atPath(value, ['optimizer']);
  const moments = optimizerTensors(optimizer, [...decaying, ...others], expected, reader.name);
  writeSafetensors(join(folder, 'optimizer.safetensors'), moments.keys(), moments, reader.name);
  const paramGroups = paramGroupsOf(optimizer, reader.name).map((settings) => {
    const { params: _, ...rest } = plainEntries(settings);
    return rest;
  });
  const training = parseConfig(
    trainingSchema,
    {
      formatVersion: 1,
      layout: 'llamagen',
      entry,
      step: value.get('steps'),
      paramGroups,
      args: plainEntries(value.get('args')),
    },
    reader.name,
  );
  writeFileSync(join(folder, 'training.json'), `${JSON.stringify(training, undefined, 2)}\n`);
  return true;
}

/** A GPT's model folder as its trainer's file: whole where there is a training state, else the network alone. */
export function exportLlamagen(source: string, target: string, names: readonly string[], finalPath: string): void {
  const weights = join(source, 'model.safetensors');
  const where = join(source, 'training', 'training.json');
  if (!existsSync(where)) {
    withTensors({ model: weights }, names, ({ model }) => writeTrainerFile(target, { model: model! }, finalPath));
    return;
  }
  const training = readConfig(where, trainingSchema);
  const { entry, step: steps } = training;
  const [first, second] = training.paramGroups.map(writableGroup);
  const net = join(source, 'training', 'net.safetensors');
  const other = existsSync(net) ? net : undefined;
  const files = {
    ...(entry === 'model' ? { model: weights, ema: other } : { model: other ?? weights, ema: weights }),
    optimizer: join(source, 'training', 'optimizer.safetensors'),
  };
  withTensors(files, names, ({ model, ema, optimizer }) => {
    const args = new Map(Object.entries(training.args).map(([key, value]) => [key, writable(value)]));
    const state = { optimizer: optimizer!, groups: [first!, second!] as const, steps, args };
    writeTrainerFile(target, { model: model!, ema, training: state }, finalPath);
  });
}

/** A checkpoint of a run of ours, from which the original trainer goes on. */
export function exportLlamagenRun(
  checkpoint: string,
  target: string,
  names: readonly string[],
  {
    step,
    config,
    training,
    finalPath,
  }: { step: number; config: GptConfig; training: TrainingConfig; finalPath: string },
): void {
  const { betas, eps, weightDecay, clip = null } = training;
  // The last step's: the next one's is the resuming script's business.
  const learningRate = learningRateAt(training.learningRate, Math.max(0, step - 1));
  const ema = join(checkpoint, 'ema.safetensors');
  // An average of decay 0 is the network itself.
  const hasEma = existsSync(ema) && training.ema[0]?.decay !== 0;
  const files = {
    model: join(checkpoint, 'model.safetensors'),
    ema: hasEma ? ema : undefined,
    optimizer: join(checkpoint, 'optimizer.safetensors'),
  };
  withTensors(files, names, (tensors) => {
    const args = new Map<string, TorchWritable>([
      ['gpt_model', `GPT of width ${config.embedDim}, ${config.depth} blocks`],
      ['vocab_size', config.codebookSize],
      ['num_classes', config.numClasses],
      ['cls_token_num', 1],
      // Their quotient is what counts: the grid.
      ['image_size', config.gridSize * 16],
      ['downsample_size', 16],
      ['global_batch_size', training.globalBatch],
      ['lr', new PickleFloat(training.learningRate.base)],
      ['weight_decay', new PickleFloat(weightDecay)],
      ['beta1', new PickleFloat(betas[0])],
      ['beta2', new PickleFloat(betas[1])],
      ['max_grad_norm', clip],
      ['ema', tensors.ema !== undefined],
    ]);
    const groups = optimizerGroups({ learningRate, betas, eps, weightDecay });
    const state = { optimizer: tensors.optimizer!, groups, steps: step, args };
    writeTrainerFile(target, { model: tensors.model!, ema: tensors.ema, training: state }, finalPath);
  });
}

type Files = { model: string; ema?: string | undefined; optimizer?: string | undefined };

/** Opens safetensors files while `write` runs; the networks' tensors come in the order of `names`. */
function withTensors(
  files: Files,
  names: readonly string[],
  write: (tensors: Partial<Record<keyof Files, TrainerFile['model']>>) => void,
): void {
  const readers: FileByteReader[] = [];
  try {
    const open = Object.entries(files).flatMap(([key, path]) => {
      if (path === undefined) return [];
      const reader = openFile(path);
      readers.push(reader);
      const { tensors } = readWeights(reader);
      return [[key, key === 'optimizer' ? tensors : new Map(names.map((name) => [name, tensors.get(name)!]))]];
    });
    write(Object.fromEntries(open));
  } finally {
    for (const reader of readers) reader.close();
  }
}

/** Floats of AdamW, which must not come back as whole numbers. */
const FLOATS = ['weight_decay', 'lr', 'eps', 'initial_lr'];

function writableGroup(settings: Record<string, z.output<typeof plain>>): Map<string, TorchWritable> {
  return new Map(
    Object.entries(settings).map(([key, value]) => {
      if (key === 'betas' && Array.isArray(value)) {
        return [key, new PickleTuple(value.map((beta) => new PickleFloat(Number(beta))))];
      }
      return [key, FLOATS.includes(key) && typeof value === 'number' ? new PickleFloat(value) : writable(value)];
    }),
  );
}

function writable(value: z.output<typeof plain>): TorchWritable {
  if (Array.isArray(value)) return value.map(writable);
  if (typeof value !== 'object' || value === null) return value;
  return new Map(Object.entries(value).map(([key, item]) => [key, writable(item)]));
}

/** Of a dict or a Namespace: what JSON holds; everything else as its kind. */
function plainEntries(value: TorchValue | undefined): Record<string, unknown> {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), plainValue(item)]));
  if (typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'namespace') {
    return plainEntries(value.fields);
  }
  return {};
}

function plainValue(value: TorchValue): unknown {
  if (Array.isArray(value)) return value.map(plainValue);
  if (value instanceof Map) return plainEntries(value);
  const isPlain = value === null || ['string', 'boolean'].includes(typeof value) || Number.isFinite(value);
  return isPlain ? value : String(value);
}
