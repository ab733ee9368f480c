/** What a runner of one kind gets and gives. A runner takes every number from the case; it hard-codes none. */

import { fromTypedArray, type Tensor } from '@tessera/torch';
import { beside, networkDevice } from 'tessera';
import type { Output } from './compare.ts';
import type { GoldenCase, Json, WeightsReference } from './golden-set.ts';
import type { GoldenReader, GoldenValue } from './golden-value.ts';
import { hashImage } from './hash-image.ts';
import { namedHash } from './named-hash.ts';

/** Outputs by role; undefined when this variant of the kind is not covered yet. */
export type Runner = (context: CaseContext) => Record<string, Output | undefined> | undefined;

export class CaseContext {
  readonly golden: GoldenCase;
  readonly reader: GoldenReader;
  /** The case's configuration, or the folder's. */
  readonly config: Record<string, Json>;

  constructor(golden: GoldenCase, reader: GoldenReader) {
    this.golden = golden;
    this.reader = reader;
    this.config = golden.config ?? reader.folder.config;
  }

  param<T extends Json>(name: string): T {
    const value = this.golden.params[name];
    if (value === undefined) throw new Error(`${this.golden.id}: expected the parameter ${name}`);
    return value as T;
  }

  optional<T extends Json>(name: string): T | undefined {
    return this.golden.params[name] as T | undefined;
  }

  has(role: string): boolean {
    return this.golden.inputs[role] !== undefined;
  }

  wants(role: string): boolean {
    return this.golden.outputs[role] !== undefined;
  }

  /** An input that is one tensor. */
  tensor(role: string): Tensor {
    const reference = this.golden.inputs[role];
    if (reference?.imageRule !== undefined) {
      const { shape, data } = hashImage(reference, this.reader.folder.rules);
      return onDevice(fromTypedArray(data, shape));
    }
    if (reference?.tensor === undefined) throw new Error(`${this.golden.id}: expected the input tensor ${role}`);
    return onDevice(this.reader.tensor(reference.file ?? this.golden.file!, reference.tensor));
  }

  /** The same on the CPU, for what is computed there on any machine, such as distances of features. */
  hostTensor(role: string): Tensor {
    return this.tensor(role).to('cpu');
  }

  /** An input that is several tensors, by key. */
  tensors(role: string): Map<string, Tensor> {
    const reference = this.golden.inputs[role];
    if (reference?.tensors === undefined) throw new Error(`${this.golden.id}: expected the input tensors ${role}`);
    const file = reference.file ?? this.golden.file!;
    const read = (name: string): Tensor => onDevice(this.reader.tensor(file, name));
    return new Map(Object.entries(reference.tensors).map(([key, name]) => [key, read(name)]));
  }

  input(role: string): GoldenValue {
    return this.reader.value(this.golden.inputs[role]!, this.golden);
  }

  /** A network's weights by name: the case's own, or those of an extra role. */
  weights(role?: string): Map<string, Tensor> {
    const reference = role === undefined ? this.golden.weights : this.golden.extraWeights?.[role];
    if (reference === undefined) throw new Error(`${this.golden.id}: expected weights ${role ?? ''}`);
    return this.weightsOf(reference);
  }

  private weightsOf(reference: WeightsReference): Map<string, Tensor> {
    if (typeof reference === 'string') return this.reader.stateDict(reference);
    if ('rule' in reference) {
      const shapes = this.reader.json(reference.keysFile, []) as Record<string, number[]>;
      return new Map(
        Object.entries(shapes).map(([name, shape]) => {
          const made = namedHash(this.reader.folder.rules, reference.rule, name, shape);
          return [name, fromTypedArray(made.data, made.shape)];
        }),
      );
    }
    if (reference.tensors !== undefined) {
      const entries = Object.entries(reference.tensors);
      return new Map(entries.map(([key, name]) => [key, this.reader.tensor(reference.file, name)]));
    }
    const all = this.reader.stateDict(reference.file, reference.path);
    const { prefix } = reference;
    if (prefix === undefined) return all;
    return new Map([...all].filter(([n]) => n.startsWith(prefix)).map(([n, t]) => [n.slice(prefix.length), t]));
  }
}

/** Inputs are where the networks are: `TESSERA_DEVICE=cuda` checks a GPU. */
function onDevice(x: Tensor): Tensor {
  return beside(x, { device: networkDevice() });
}
