/**
 * The checkpoint of LlamaGen's and NPP's trainer (reference §6): one file of {model, optimizer, steps, args, [ema]}, from
 * which the original resumes. Its optimizer numbers the parameters group by group: those that decay, of two dimensions
 * and more, then the rest, each in the order of the model. `args` is a plain dict here: only its trainer's log reads it.
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
import { writeChunks } from './tensor-file.ts';

export interface LlamagenCheckpoint {
  /** By official name, in the model's order. */
  model: ReadonlyMap<string, Tensor>;
  ema?: ReadonlyMap<string, Tensor> | undefined;
  /** PARAMETER.exp_avg, .exp_avg_sq and .step, as AdamW.state() gives them. */
  optimizer: ReadonlyMap<string, Tensor>;
  settings: { learningRate: number; betas: readonly [number, number]; eps: number; weightDecay: number };
  /** Optimizer steps done; the file is named by them. */
  steps: number;
  /** What the run was started with. */
  args: Readonly<Record<string, string | number | boolean | null>>;
}

/** Such as `0005004.pt`. */
export function llamagenFileName(steps: number): string {
  return `${String(steps).padStart(7, '0')}.pt`;
}

/** Names in the order in which the optimizer numbers them: parameters that decay first. */
export function optimizerOrder(model: ReadonlyMap<string, Tensor>): { decaying: string[]; others: string[] } {
  const names = [...model.keys()];
  const decays = (name: string): boolean => model.get(name)!.shape.length >= 2;
  return { decaying: names.filter(decays), others: names.filter((name) => !decays(name)) };
}

export function writeLlamagenCheckpoint(path: string, checkpoint: LlamagenCheckpoint): void {
  const { model, ema, steps, args } = checkpoint;
  const entries: [string, TorchWritable][] = [
    ['model', stateDict(model)],
    ['optimizer', optimizerDict(checkpoint)],
    ['steps', steps],
    ['args', new Map(Object.entries(args))],
  ];
  if (ema !== undefined) entries.push(['ema', stateDict(ema)]);
  const name = path.split('/').at(-1)!.replace(/\.pt$/, '');
  writeChunks(path, torchCheckpointChunks(new Map(entries), { name }));
}

function optimizerDict({ model, optimizer, settings }: LlamagenCheckpoint): TorchWritable {
  const { decaying, others } = optimizerOrder(model);
  const state = new Map<number, TorchWritable>();
  for (const [i, name] of [...decaying, ...others].entries()) {
    const fields = ['step', 'exp_avg', 'exp_avg_sq'].flatMap((field) => {
      const tensor = optimizer.get(`${name}.${field}`);
      return tensor === undefined ? [] : [[field, written(tensor)] as const];
    });
    // A parameter that never had a gradient has no entry.
    if (fields.length > 0) state.set(i, new Map<string, TorchWritable>(fields));
  }
  const group = (weightDecay: number, first: number, count: number): TorchWritable =>
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
      ['params', Array.from({ length: count }, (_, i) => first + i)],
    ]);
  return new Map<string, TorchWritable>([
    ['state', state],
    ['param_groups', [group(settings.weightDecay, 0, decaying.length), group(0, decaying.length, others.length)]],
  ]);
}

function stateDict(tensors: ReadonlyMap<string, Tensor>): TorchWritable {
  return new OrderedDict<TensorToWrite>([...tensors].map(([name, tensor]) => [name, written(tensor)]));
}

function written(tensor: Tensor): TensorToWrite {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: () => tensor.toBytes() };
}
