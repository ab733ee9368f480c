/**
 * The checkpoint of LlamaGen's and NPP's trainer (reference §6): one file of {model, optimizer, steps, args, [ema]}, from
 * which the original resumes. Its optimizer numbers the parameters group by group: those that decay, of two dimensions
 * and more, then the rest, each in the order of the model. `args` is a plain dict here, where the original pickles an
 * argparse.Namespace: no released script reads it back, and torch.load refuses that class by default.
 */

import {
  OrderedDict,
  PickleFloat,
  PickleTuple,
  type TensorToWrite,
  type TorchWritable,
  torchCheckpointChunks,
} from '@tessera/formats';
import type { Tensor } from '@tessera/torch';
import type { Shapes } from '../../nn/state-dict.ts';
import { writeChunks } from './tensor-file.ts';

export interface LlamagenCheckpoint {
  /** By official name, in the model's order. */
  model: ReadonlyMap<string, Tensor>;
  ema?: ReadonlyMap<string, Tensor> | undefined;
  /** PARAMETER.exp_avg, .exp_avg_sq and .step, as AdamW.state() gives them. */
  optimizer: ReadonlyMap<string, Tensor>;
  settings: LlamagenOptimizer;
  /** Optimizer steps done; the file is named by them. */
  steps: number;
  /** What the run was started with. */
  args: Readonly<Record<string, string | number | boolean | null>>;
}

export interface LlamagenOptimizer {
  learningRate: number;
  betas: readonly [number, number];
  eps: number;
  weightDecay: number;
}

/** The same of tensors that may still be in files. */
export interface TrainerFile {
  model: ReadonlyMap<string, TensorToWrite>;
  ema?: ReadonlyMap<string, TensorToWrite> | undefined;
  /** Without it, only the networks are written: enough for sampling. */
  training?:
    | {
        optimizer: ReadonlyMap<string, TensorToWrite>;
        /** Of the parameters that decay, then of the others; without their numbers. */
        groups: readonly [ReadonlyMap<string, TorchWritable>, ReadonlyMap<string, TorchWritable>];
        steps: number;
        args: ReadonlyMap<string, TorchWritable>;
      }
    | undefined;
}

/** Such as `0005004.pt`. */
export function llamagenFileName(steps: number): string {
  return `${String(steps).padStart(7, '0')}.pt`;
}

/** Names in the order in which the optimizer numbers them: parameters that decay first. */
export function optimizerOrder(model: ReadonlyMap<string, { readonly shape: readonly number[] }>): {
  decaying: string[];
  others: string[];
} {
  const names = [...model.keys()];
  const decays = (name: string): boolean => model.get(name)!.shape.length >= 2;
  return { decaying: names.filter(decays), others: names.filter((name) => !decays(name)) };
}

/** The same by shapes alone. */
export function optimizerOrderOf(shapes: Shapes): { decaying: string[]; others: string[] } {
  return optimizerOrder(new Map([...shapes].map(([name, shape]) => [name, { shape }])));
}

export function writeLlamagenCheckpoint(path: string, checkpoint: LlamagenCheckpoint): void {
  const { model, ema, optimizer, settings, steps, args } = checkpoint;
  writeTrainerFile(path, {
    model: written(model),
    ema: ema === undefined ? undefined : written(ema),
    training: {
      optimizer: written(optimizer),
      groups: optimizerGroups(settings),
      steps,
      args: new Map(Object.entries(args)),
    },
  });
}

/** @param finalPath what the file will be called, which the archive inside is named after */
export function writeTrainerFile(path: string, { model, ema, training }: TrainerFile, finalPath = path): void {
  const entries: [string, TorchWritable][] = [['model', new OrderedDict(model)]];
  if (training !== undefined) {
    const { optimizer, groups, steps, args } = training;
    entries.push(['optimizer', optimizerDict(model, optimizer, groups)], ['steps', steps], ['args', args]);
  }
  if (ema !== undefined) entries.push(['ema', new OrderedDict(ema)]);
  const name =
    finalPath
      .split('/')
      .at(-1)!
      .replace(/\.\w+$/, '') || 'archive';
  writeChunks(path, torchCheckpointChunks(new Map(entries), { name }));
}

/** As torch.optim.AdamW writes them. */
export function optimizerGroups(settings: LlamagenOptimizer): [Map<string, TorchWritable>, Map<string, TorchWritable>] {
  const group = (weightDecay: number) =>
    new Map<string, TorchWritable>([
      ['weight_decay', new PickleFloat(weightDecay)],
      ['lr', new PickleFloat(settings.learningRate)],
      ['betas', new PickleTuple(settings.betas.map((beta) => new PickleFloat(beta)))],
      ['eps', new PickleFloat(settings.eps)],
      ['amsgrad', false],
      ['maximize', false],
      ['foreach', null],
      ['capturable', false],
      ['differentiable', false],
      ['fused', true],
      ['decoupled_weight_decay', true],
    ]);
  return [group(settings.weightDecay), group(0)];
}

function optimizerDict(
  model: ReadonlyMap<string, TensorToWrite>,
  optimizer: ReadonlyMap<string, TensorToWrite>,
  groups: readonly ReadonlyMap<string, TorchWritable>[],
): TorchWritable {
  const { decaying, others } = optimizerOrder(model);
  const state = new Map<number, TorchWritable>();
  for (const [i, name] of [...decaying, ...others].entries()) {
    const fields = ['step', 'exp_avg', 'exp_avg_sq'].flatMap((field) => {
      const tensor = optimizer.get(`${name}.${field}`);
      return tensor === undefined ? [] : [[field, tensor] as const];
    });
    // A parameter that never had a gradient has no entry.
    if (fields.length > 0) state.set(i, new Map<string, TorchWritable>(fields));
  }
  const numbers = [decaying.map((_, i) => i), others.map((_, i) => decaying.length + i)];
  return new Map<string, TorchWritable>([
    ['state', state],
    ['param_groups', groups.map((group, i) => new Map<string, TorchWritable>([...group, ['params', numbers[i]!]]))],
  ]);
}

function written(tensors: ReadonlyMap<string, Tensor>): Map<string, TensorToWrite> {
  return new Map(
    [...tensors].map(([name, tensor]) => [
      name,
      { dtype: tensor.dtype, shape: tensor.shape, bytes: () => tensor.toBytes() },
    ]),
  );
}
