/**
 * Writes safetensors in pieces, so that a checkpoint needs no second copy in memory.
 *
 * The header lists the tensors in the order given. The header is padded with spaces so that data starts at
 * a multiple of 8, and data keeps the given order as long as every tensor then starts at a multiple of
 * its element size; otherwise larger elements go first (as the reference writer does), because readers
 * that view the file in place need the alignment.
 */
import { concatBytes, dataViewOf } from '../byte-reader.ts';
import { byteLengthOf, byteSwapUnit, type DType } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { SAFETENSORS_NAMES } from './read.ts';

export interface TensorToWrite {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** C order, little-endian, exactly the size of shape times element; a function is asked when it is their turn. */
  readonly bytes: Uint8Array | (() => Uint8Array);
}

const WRITTEN_NAMES = new Map([...SAFETENSORS_NAMES].map(([text, dtype]) => [dtype, text]));

/** The pieces of the file, in order: length and header, then each tensor's bytes (not copied). */
export function* safetensorsChunks(
  tensors: Iterable<readonly [string, TensorToWrite]>,
  metadata?: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  const list = [...tensors];
  checkTensors(list);
  const ordered = orderData(list);
  const begins = new Map<string, number>();
  let end = 0;
  for (const [name, tensor] of ordered) {
    begins.set(name, end);
    end += byteLengthOf(tensor.dtype, tensor.shape)!;
  }
  const fields: string[] = [];
  if (metadata && Object.keys(metadata).length > 0) fields.push(`"__metadata__":${metadataJson(metadata)}`);
  for (const [name, { dtype, shape }] of list) {
    const begin = begins.get(name)!;
    const end = begin + byteLengthOf(dtype, shape)!;
    const entry = { dtype: WRITTEN_NAMES.get(dtype), shape, data_offsets: [begin, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  yield headerBytes(`{${fields.join(',')}}`);
  for (const [name, tensor] of ordered) yield bytesToWrite(name, tensor);
}

/** The whole file in one array. */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, TensorToWrite]>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  return concatBytes(safetensorsChunks(tensors, metadata));
}

function checkTensors(list: readonly (readonly [string, TensorToWrite])[]): void {
  const seen = new Set<string>();
  for (const [name, { dtype, shape, bytes }] of list) {
    if (name === '__metadata__' || seen.has(name))
      refuse('name', `the tensor name "${name}" is reserved or used twice`);
    checkText(name);
    seen.add(name);
    if (!WRITTEN_NAMES.has(dtype)) refuse('dtype', `tensor "${name}": ${dtype} cannot be stored in safetensors`);
    if (byteLengthOf(dtype, shape) === null) refuse('size', `tensor "${name}": the shape [${shape}] overflows`);
    if (typeof bytes !== 'function') checkSize(name, { dtype, shape, bytes }, bytes);
  }
}

/** The bytes of a tensor, made now if they are not there yet. */
export function bytesToWrite(name: string, tensor: TensorToWrite): Uint8Array {
  const bytes = typeof tensor.bytes === 'function' ? tensor.bytes() : tensor.bytes;
  checkSize(name, tensor, bytes);
  return bytes;
}

function checkSize(name: string, { dtype, shape }: TensorToWrite, bytes: Uint8Array): void {
  const needed = byteLengthOf(dtype, shape);
  if (needed === bytes.byteLength) return;
  refuse('size', `tensor "${name}": ${dtype} [${shape}] needs ${needed} bytes, got ${bytes.byteLength}`);
}

/** A stable sort by element size keeps the given order inside each size. */
function orderData<T extends readonly [string, TensorToWrite]>(list: readonly T[]): readonly T[] {
  let end = 0;
  for (const [, { dtype, shape }] of list) {
    if (end % byteSwapUnit(dtype) !== 0) {
      return [...list].sort(([, a], [, b]) => byteSwapUnit(b.dtype) - byteSwapUnit(a.dtype));
    }
    end += byteLengthOf(dtype, shape)!;
  }
  return list;
}

function metadataJson(metadata: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(metadata).map(([key, value]) => {
    if (typeof value !== 'string') refuse('metadata', `metadata "${key}": expected a text, got ${typeof value}`);
    checkText(key);
    checkText(value);
    return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
  });
  return `{${pairs.join(',')}}`;
}

function headerBytes(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.byteLength / 8) * 8;
  const out = new Uint8Array(8 + length).fill(0x20);
  dataViewOf(out).setBigUint64(0, BigInt(length), true);
  out.set(text, 8);
  return out;
}

/** Half of a surrogate pair has no UTF-8 form; other readers would refuse the file. */
function checkText(text: string): void {
  if (/\p{Surrogate}/u.test(text)) refuse('text', 'a name or metadata text holds half of a surrogate pair');
}

function refuse(rule: string, message: string): never {
  throw new FormatError(`safetensors.write-${rule}`, message, { file: 'safetensors writer' });
}
