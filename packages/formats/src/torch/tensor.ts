/**
 * Tensors and storages of a PyTorch checkpoint: places in the file, read only when asked for.
 *
 * A storage is a run of bytes; a tensor is a strided view on one, and several tensors may share it. So a
 * tensor of any shape costs nothing until its bytes are wanted, and contiguous ones can be memory-mapped
 * at `absoluteOffset`. Gathering is bounded: strides of zero describe tensors far larger than their file.
 */
import type { ByteReader } from '../byte-reader.ts';
import { byteSizeOf, byteSwapUnit, bytesOf, type DType, elementCount, swapBytes } from '../dtype.ts';
import { FormatError } from '../format-error.ts';

/** How much larger than its storage an expanded tensor may be when its bytes are gathered: 64 MiB. */
const EXPANSION_ALLOWANCE = 2 ** 26;

/** Where the bytes of a storage lie; known for legacy files only after their pickles. */
export interface StorageSource {
  readonly reader: ByteReader;
  /** Start of the storage inside `reader`. */
  readonly start: number;
  /** Start in the file itself, or null where the file holds it compressed. */
  readonly fileOffset: number | null;
  readonly bigEndian: boolean;
}

export class TorchStorage {
  readonly key: string;
  /** uint8 for storages that PyTorch calls untyped. */
  readonly dtype: DType;
  readonly byteLength: number;
  /** Device at the time of saving: `cpu`, `cuda:0` ... */
  readonly location: string;
  /** Set by the reader of the layout; a view keeps its root instead. */
  source: StorageSource | undefined;
  private readonly root: TorchStorage | undefined;
  private readonly rootOffset: number;

  constructor(
    fields: { key: string; dtype: DType; byteLength: number; location: string },
    view?: { root: TorchStorage; byteOffset: number },
  ) {
    this.key = fields.key;
    this.dtype = fields.dtype;
    this.byteLength = fields.byteLength;
    this.location = fields.location;
    this.root = view?.root;
    this.rootOffset = view?.byteOffset ?? 0;
  }

  /** Absolute offset in the file, or null if the storage is compressed there. */
  get byteOffset(): number | null {
    const offset = (this.root ?? this).source?.fileOffset ?? null;
    return offset === null ? null : offset + this.rootOffset;
  }

  get bigEndian(): boolean {
    return (this.root ?? this).source?.bigEndian ?? false;
  }

  /** Bytes [offset, offset + length) of the storage as they are in the file. */
  read(offset: number, length: number): Uint8Array {
    const source = (this.root ?? this).source;
    if (!source || offset + length > this.byteLength) {
      const message = `bytes ${offset} to ${offset + length} of storage "${this.key}" (${this.byteLength} bytes) are not there`;
      throw new FormatError('torch.storage-range', message, { file: source?.reader.name ?? 'checkpoint' });
    }
    return source.reader.read(source.start + this.rootOffset + offset, length);
  }
}

export interface TensorFields {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
  /** In elements. */
  readonly storageOffset: number;
  readonly storage: TorchStorage;
  readonly requiresGrad: boolean;
}

export class TorchTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly storageOffset: number;
  readonly storage: TorchStorage;
  readonly requiresGrad: boolean;

  /** The caller has checked that every element lies inside the storage (`tensorProblem`). */
  constructor(fields: TensorFields) {
    this.dtype = fields.dtype;
    this.shape = fields.shape;
    this.strides = fields.strides;
    this.storageOffset = fields.storageOffset;
    this.storage = fields.storage;
    this.requiresGrad = fields.requiresGrad;
  }

  /** Number of elements. */
  get numel(): number {
    return elementCount(this.shape)!;
  }

  /** Elements follow each other in C order without gaps (axes of size 1 do not matter). */
  get isContiguous(): boolean {
    let expected = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      const size = this.shape[axis]!;
      if (size === 0) return true;
      if (size !== 1 && this.strides[axis] !== expected) return false;
      expected *= size;
    }
    return true;
  }

  /** File offset of the first element if the tensor can be memory-mapped there, else null. */
  get absoluteOffset(): number | null {
    const offset = this.storage.byteOffset;
    if (offset === null || !this.isContiguous || this.storage.bigEndian) return null;
    return offset + this.storageOffset * byteSizeOf(this.dtype);
  }

  /** All elements in C order, little-endian. May be a view on the reader's memory. */
  contiguousBytes(): Uint8Array {
    const itemSize = byteSizeOf(this.dtype);
    const length = this.numel * itemSize;
    if (length === 0) return new Uint8Array(0);
    const bytes = this.isContiguous
      ? this.storage.read(this.storageOffset * itemSize, length)
      : this.gather(length, itemSize);
    return this.storage.bigEndian ? swapBytes(bytes, byteSwapUnit(this.dtype)) : bytes;
  }

  private gather(length: number, itemSize: number): Uint8Array {
    if (length > this.storage.byteLength + EXPANSION_ALLOWANCE) {
      const message = `shape [${this.shape}] with strides [${this.strides}] unfolds ${this.storage.byteLength} bytes to ${length}`;
      throw new FormatError('torch.expanded-too-large', message, {
        file: this.storage.source?.reader.name ?? 'checkpoint',
      });
    }
    const last = this.shape.reduce((sum, size, axis) => sum + (size - 1) * this.strides[axis]!, 0);
    const span = this.storage.read(this.storageOffset * itemSize, (last + 1) * itemSize);
    // Elements move as whole words; 16-byte ones as pairs, which is one more axis of size 2.
    const pairs = itemSize === 16;
    const shape = pairs ? [...this.shape, 2] : this.shape;
    const strides = pairs ? [...this.strides.map((stride) => 2 * stride), 1] : this.strides;
    const from = wordsOf(span, pairs ? 8 : itemSize);
    const to = wordsOf(new Uint8Array(length), pairs ? 8 : itemSize);
    copyStrided(from as Uint8Array, to as Uint8Array, shape, strides);
    return bytesOf(to);
  }
}

/** Why a tensor with these fields does not lie inside its storage, or null if it does. */
export function tensorProblem(fields: TensorFields): string | null {
  const { dtype, shape, strides, storageOffset, storage } = fields;
  const count = elementCount(shape);
  if (count === null || !Number.isSafeInteger(count * byteSizeOf(dtype))) return `shape [${shape}] overflows`;
  if (shape.length !== strides.length) return `${shape.length} sizes, but ${strides.length} strides`;
  const held = Math.floor(storage.byteLength / byteSizeOf(dtype));
  let end = storageOffset;
  if (count > 0) {
    for (const [axis, size] of shape.entries()) end += (size - 1) * strides[axis]!;
    end += 1;
  }
  if (end <= held) return null;
  return `shape [${shape}], strides [${strides}], offset ${storageOffset} reach beyond the ${held} elements of storage "${storage.key}"`;
}

type Words = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

function wordsOf(bytes: Uint8Array, size: number): Words {
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const { buffer, byteOffset } = aligned;
  const length = aligned.byteLength / size;
  if (size === 8) return new BigUint64Array(buffer, byteOffset, length);
  if (size === 4) return new Uint32Array(buffer, byteOffset, length);
  if (size === 2) return new Uint16Array(buffer, byteOffset, length);
  return aligned;
}

/** Walks the output in order; `at` follows in the input. Typed for bytes, works for words of any size. */
function copyStrided(from: Uint8Array, to: Uint8Array, shape: readonly number[], strides: readonly number[]): void {
  const index = shape.map(() => 0);
  let at = 0;
  for (let i = 0; i < to.length; i++) {
    to[i] = from[at]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
}
