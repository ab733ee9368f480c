// Tensors in files: safetensors mapped into memory and written, PyTorch checkpoints' tensors (parsed, never executed).

import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { readSafetensorsHeader, safetensorsChunks, type TorchTensor } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { fromBytes } from './create.ts';
import { wrap } from './dispatch.ts';
import { type DType, isDType } from './dtype.ts';
import { TensorError } from './errors.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

export interface LoadedTensors {
  tensors: Map<string, Tensor>;
  metadata: Record<string, string>;
}

/**
 * The tensors of a safetensors file, in file order, mapped into memory: pages are read when they are touched, and
 * writing to a tensor changes memory only. The file must not be truncated while they live (replace files by rename).
 */
export function loadSafetensors(path: string): LoadedTensors {
  const header = withFile(path, (reader) => readSafetensorsHeader(reader));
  const names = [...header.tensors.keys()];
  const entries = [...header.tensors.values()];
  const handles = guarded('loadSafetensors', () =>
    addon().mapFile(
      path,
      entries.map((entry) => entry.offset),
      entries.map((entry, i) => [entry.shape, supported(entry.dtype, names[i]!, path)] as const),
    ),
  );
  return {
    tensors: new Map(names.map((name, i) => [name, wrap(handles[i]!)])),
    metadata: header.metadata,
  };
}

/** Writes a safetensors file and flushes it to the disk. Not atomic: write to a temporary name and rename. */
export function saveSafetensors(
  path: string,
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const items = Array.from(
    tensors,
    ([name, tensor]) => [name, { dtype: tensor.dtype, shape: tensor.shape, bytes: () => tensor.toBytes() }] as const,
  );
  const file = openSync(path, 'w');
  try {
    for (const chunk of safetensorsChunks(items, metadata)) writeAll(file, chunk);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** A tensor of a PyTorch checkpoint as read by @tessera/formats, copied into memory. */
export function fromTorchTensor(tensor: TorchTensor): Tensor {
  return fromBytes(tensor.contiguousBytes(), tensor.shape, supported(tensor.dtype, 'tensor', 'checkpoint'));
}

function supported(dtype: string, name: string, path: string): DType {
  if (!isDType(dtype)) {
    throw new TensorError('TORCH', `${path}: "${name}" is ${dtype}, a type that tensors cannot hold here`);
  }
  return dtype;
}

/** Node takes less than 2 GiB at once. */
const LARGEST_WRITE = 2 ** 30;

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, LARGEST_WRITE));
}
