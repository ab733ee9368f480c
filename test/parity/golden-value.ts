/** Reference values in memory, and how a manifest's reference becomes one. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  atPath,
  flattenStateDict,
  type NpyArray,
  readNpy,
  readNpz,
  readSafetensorsHeader,
  readTensorBytes,
  readTorchCheckpoint,
  TorchTensor,
  type TorchValue,
} from '@tessera/formats';
import { openFile, withFile } from '@tessera/formats/node';
import { type DType, fromBytes, fromTorchTensor, isDType, type Tensor } from '@tessera/torch';
import type { GoldenCase, GoldenFolder, Json, Reference } from './golden-set.ts';

/** Numbers in C order. */
export interface GoldenArray {
  shape: readonly number[];
  values: ArrayLike<number>;
}

/** One array, several by key (nested for snapshots by step), or plain JSON. */
export type GoldenValue =
  | { kind: 'array'; array: GoldenArray }
  | { kind: 'map'; map: Map<string, GoldenValue> }
  | { kind: 'json'; json: Json };

/** Reads values of one manifest folder; files are opened once. */
export class GoldenReader {
  readonly folder: GoldenFolder;
  private readonly checkpoints = new Map<string, TorchValue>();
  private readonly documents = new Map<string, Json>();

  constructor(folder: GoldenFolder) {
    this.folder = folder;
  }

  path(file: string): string {
    return join(this.folder.path, file);
  }

  /** A tensor of a safetensors, npy or npz file; the caller's scope owns it. */
  tensor(file: string, name: string): Tensor {
    if (file.endsWith('.safetensors')) {
      return withFile(this.path(file), (reader) => {
        const entry = readSafetensorsHeader(reader).tensors.get(name);
        if (entry === undefined) throw new Error(`${file} has no tensor "${name}"`);
        return fromBytes(readTensorBytes(reader, entry).slice(), entry.shape, dtype(entry.dtype));
      });
    }
    if (file.endsWith('.npy')) return withFile(this.path(file), (reader) => npyTensor(readNpy(reader)));
    if (file.endsWith('.npz')) {
      return withFile(this.path(file), (reader) => {
        for (const [key, array] of readNpz(reader)) if (key === name) return npyTensor(array);
        throw new Error(`${file} has no array "${name}"`);
      });
    }
    const found = flattenStateDict(this.checkpoint(file)).get(name.replaceAll('/', '.'));
    if (found === undefined) throw new Error(`${file} has no tensor "${name}"`);
    return fromTorchTensor(found);
  }

  checkpoint(file: string): TorchValue {
    let value = this.checkpoints.get(file);
    if (value === undefined) {
      // Kept open: storages are read when their tensors are.
      value = readTorchCheckpoint(openFile(this.path(file)));
      this.checkpoints.set(file, value);
    }
    return value;
  }

  /** All tensors of a safetensors file, or under a path of a checkpoint by joined name. */
  stateDict(file: string, path: (string | number)[] = []): Map<string, Tensor> {
    if (file.endsWith('.safetensors')) {
      const names = withFile(this.path(file), (reader) => [...readSafetensorsHeader(reader).tensors.keys()]);
      return new Map(names.map((name) => [name, this.tensor(file, name)]));
    }
    const tensors = flattenStateDict(this.checkpoint(file), path);
    return new Map([...tensors].map(([name, value]) => [name, fromTorchTensor(value)]));
  }

  pickleNumber(file: string, path: (string | number)[]): number {
    const value = atPath(this.checkpoint(file), path);
    if (value instanceof TorchTensor) return fromTorchTensor(value).item();
    return Number(value);
  }

  json(file: string, path: readonly (string | number)[]): Json {
    let value = this.documents.get(file);
    if (value === undefined) {
      value = JSON.parse(readFileSync(this.path(file), 'utf8')) as Json;
      this.documents.set(file, value);
    }
    for (const key of path) value = (value as Record<string | number, Json>)[key]!;
    return value;
  }

  /** The value of a reference of a case. */
  value(reference: Reference, golden: Pick<GoldenCase, 'file' | 'params'>): GoldenValue {
    const file = reference.file ?? golden.file ?? '';
    if (reference.tensor !== undefined) return arrayOf(this.selected(this.tensor(file, reference.tensor), reference));
    if (reference.tensors !== undefined) return this.named(file, reference.tensors);
    if (reference.tensorsByStep !== undefined) {
      const map = Object.entries(reference.tensorsByStep).map(
        ([step, names]) => [step, this.named(file, names)] as const,
      );
      return { kind: 'map', map: new Map(map) };
    }
    if (reference.json !== undefined) return { kind: 'json', json: this.jsonField(file, reference) };
    if (reference.value !== undefined) return { kind: 'json', json: reference.value };
    if (reference.stateDict !== undefined) {
      const tensors = [...this.stateDict(file, reference.stateDict)].filter(
        ([name]) => !reference.exclude?.includes(name),
      );
      return { kind: 'map', map: new Map(tensors.map(([name, tensor]) => [name, arrayOf(tensor)])) };
    }
    if (reference.optimizerState !== undefined) return this.optimizerState(file, reference, golden.params);
    if (reference.pickle !== undefined) {
      const value = atPath(this.checkpoint(file), reference.pickle);
      return value instanceof TorchTensor
        ? arrayOf(fromTorchTensor(value))
        : { kind: 'json', json: this.pickleNumber(file, reference.pickle) };
    }
    throw new Error(`a reference of a form that is not read yet: ${JSON.stringify(reference).slice(0, 200)}`);
  }

  /** One field of every entry of a torch optimizer's state, by parameter: entry i is that of name i of the order. */
  private optimizerState(file: string, reference: Reference, params: GoldenCase['params']): GoldenValue {
    const [, list = ''] = /^params\.(\w+)$/.exec(reference.order ?? '') ?? [];
    const names = params[list] as string[] | undefined;
    if (names === undefined) throw new Error(`expected the order of an optimizer's state at ${reference.order}`);
    const fields = flattenStateDict(this.checkpoint(file), [...reference.optimizerState!, 'state']);
    const entries = names.flatMap((name, i): [string, GoldenValue][] => {
      const found = fields.get(`${i}.${reference.field}`);
      return found === undefined ? [] : [[name, arrayOf(fromTorchTensor(found))]];
    });
    return { kind: 'map', map: new Map(entries) };
  }

  private named(file: string, names: Record<string, string>): GoldenValue {
    const entries = Object.entries(names).map(([key, name]) => [key, arrayOf(this.tensor(file, name))] as const);
    return { kind: 'map', map: new Map(entries) };
  }

  private jsonField(file: string, reference: Reference): Json {
    const value = this.json(file, reference.json!);
    const { field } = reference;
    if (field === undefined) return value;
    const entries = Object.entries(value as Record<string, Record<string, Json>>);
    return Object.fromEntries(entries.map(([name, entry]) => [name, entry[field]!]));
  }

  private selected(tensor: Tensor, { column, rows, rowRange }: Reference): Tensor {
    let result = tensor;
    if (column !== undefined) result = result.select(-1, column);
    if (rowRange !== undefined) result = result.narrow(0, rowRange[0], rowRange[1] - rowRange[0]);
    if (rows !== undefined)
      result = result.index([fromBytes(BigInt64Array.from(rows, BigInt), [rows.length], 'int64')]);
    return result;
  }
}

export function arrayOf(tensor: Tensor): GoldenValue {
  return { kind: 'array', array: { shape: tensor.shape, values: tensor.toNumbers() } };
}

function npyTensor(array: NpyArray): Tensor {
  return fromBytes(array.data as Uint8Array, array.shape, dtype(array.dtype));
}

function dtype(name: string): DType {
  if (!isDType(name)) throw new Error(`tensors of type ${name} are not read`);
  return name;
}
