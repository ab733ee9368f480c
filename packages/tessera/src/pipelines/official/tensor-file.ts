/** Writes tensors that are still in another file: one at a time, checked for values that are not finite as they pass. */

import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { type DType, safetensorsChunks, typedArrayOf } from '@tessera/formats';
import { PipelineError } from '../events.ts';
import type { FileTensor } from './read-weights.ts';

/** A safetensors file of `names` in that order; the file that they come from must be open. */
export function writeSafetensors(
  path: string,
  names: Iterable<string>,
  tensors: ReadonlyMap<string, FileTensor>,
  where: string,
): void {
  const entries = Array.from(names, (name): [string, FileTensor] => {
    const tensor = tensors.get(name)!;
    return [name, { ...tensor, bytes: () => finite(name, tensor, where) }];
  });
  writeChunks(path, safetensorsChunks(entries, { format: 'pt' }));
}

/** Writes the pieces of a file and flushes it to the disk. */
export function writeChunks(path: string, chunks: Iterable<Uint8Array>): void {
  const file = openSync(path, 'w');
  try {
    for (const chunk of chunks) for (let at = 0; at < chunk.length; ) at += writeSync(file, chunk, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function finite(name: string, tensor: FileTensor, where: string): Uint8Array {
  const bytes = tensor.bytes();
  const index = firstNotFinite(tensor.dtype, bytes);
  if (index === -1) return bytes;
  throw new PipelineError(
    'WEIGHTS_NOT_FINITE',
    `${where}: "${name}" holds NaN or an infinite value (entry ${index}): the checkpoint is of a training that diverged, or damaged.`,
  );
}

/** Where the exponent of a half-precision number has all its bits set. */
const EXPONENTS: Partial<Record<DType, number>> = { float16: 0x7c00, bfloat16: 0x7f80 };

function firstNotFinite(dtype: DType, bytes: Uint8Array): number {
  const values = typedArrayOf(dtype, bytes) as ArrayLike<number>;
  const exponent = EXPONENTS[dtype];
  if (exponent !== undefined) return indexWhere(values, (value) => (value & exponent) === exponent);
  if (dtype === 'float32' || dtype === 'float64') return indexWhere(values, (value) => value - value !== 0);
  return -1;
}

function indexWhere(values: ArrayLike<number>, holds: (value: number) => boolean): number {
  for (let i = 0; i < values.length; i++) if (holds(values[i]!)) return i;
  return -1;
}
