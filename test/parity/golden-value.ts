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
  type TorchDict,
  TorchTensor,
  type TorchValue,
} from '@tessera/formats';
import { openFile, withFile } from '@tessera/formats/node';
import { type DType, fromBytes, fromTorchTensor, isDType, loadSafetensors, type Tensor } from '@tessera/torch';
import type { GoldenFolder, Json, Reference } from './golden-set.ts';

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
    if (file.endsWith('.safetensors')) return loadSafetensors(this.path(file)).tensors;
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

  /** The value of a reference; `defaultFile` and `params` are the case's. */
  value(reference: Reference, defaultFile: string | undefined, params: Record<string, Json> = {}): GoldenValue {
    const file = reference.file ?? defaultFile ?? '';
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
    if (reference.optimizerState !== undefined) return this.optimizerField(file, reference, params);
    if (reference.pickle !== undefined) return { kind: 'json', json: this.pickleNumber(file, reference.pickle) };
    throw new Error(`a reference of a form that is not read yet: ${JSON.stringify(reference).slice(0, 200)}`);
  }

  /** One field of a torch optimizer's state, by the parameters' names in index order. */
  private optimizerField(file: string, reference: Reference, params: Record<string, Json>): GoldenValue {
    const names = atDottedPath({ params }, reference.order!) as string[];
    const state = atPath(this.checkpoint(file), [...reference.optimizerState!, 'state']) as TorchDict;
    const entries = names.map((name, i) => {
      const value = (state.get(i) as TorchDict).get(reference.field!);
      return [name, arrayOf(fromTorchTensor(value as TorchTensor))] as const;
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

function atDottedPath(root: Json, path: string): Json {
  return path.split('.').reduce<Json>((value, key) => (value as Record<string, Json>)[key]!, root);
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
