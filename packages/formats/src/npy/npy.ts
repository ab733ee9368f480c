/**
 * npy arrays in memory: read into the typed array of their dtype in C order, and written.
 *
 * Big-endian data is swapped and Fortran order transposed while reading, so that callers see one layout.
 * Files are written as version 1.0 (rank is bounded, so the header is short), little-endian, C order, data at a
 * multiple of 64 bytes, as numpy does.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import {
  byteLengthOf,
  byteSizeOf,
  byteSwapUnit,
  bytesOf,
  type DType,
  type NumericArray,
  swapBytes,
  typedArrayOf,
} from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { NPY_CODES, readNpyHeader } from './header.ts';

export interface NpyArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** C order. float16 and bfloat16 as bits in a Uint16Array, bool as 0/1, complex interleaved. */
  readonly data: NumericArray;
}

/** Reads a whole array. `data` may be a view on the reader's memory: copy it before writing into it. */
export function readNpy(reader: ByteReader): NpyArray {
  const header = readNpyHeader(reader);
  const { dtype, shape } = header;
  let bytes = reader.read(header.dataOffset, header.byteLength);
  if (header.bigEndian && byteSwapUnit(dtype) > 1) bytes = swapBytes(bytes, byteSwapUnit(dtype));
  if (header.fortranOrder && shape.length > 1) bytes = fortranToC(bytes, shape, byteSizeOf(dtype));
  return { dtype, shape, data: typedArrayOf(dtype, bytes) };
}

/** The bytes of a npy file. */
export function encodeNpy(array: NpyArray): Uint8Array {
  const { dtype, shape, data } = array;
  const needed = byteLengthOf(dtype, shape);
  if (needed !== data.byteLength) {
    const message = `${dtype} (${shape}) needs ${needed} bytes, got ${data.byteLength}`;
    throw new FormatError('npy.write-size', message, { file: 'npy writer' });
  }
  const header = encodeNpyHeader(dtype, shape);
  const out = new Uint8Array(header.byteLength + data.byteLength);
  out.set(header);
  out.set(bytesOf(data), header.byteLength);
  return out;
}

/** What comes before the data, for files that are written piece by piece. */
export function encodeNpyHeader(dtype: DType, shape: readonly number[]): Uint8Array {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const literal = `{'descr': '${descrOf(dtype)}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const out = new Uint8Array(Math.ceil((10 + literal.length + 1) / 64) * 64).fill(0x20);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  dataViewOf(out).setUint16(8, out.byteLength - 10, true);
  out.set(new TextEncoder().encode(literal), 10);
  out[out.byteLength - 1] = 0x0a;
  return out;
}

const WRITTEN_CODES = new Map([...NPY_CODES].map(([code, dtype]) => [dtype, code]));

function descrOf(dtype: DType): string {
  if (dtype === 'bfloat16') return '<V2';
  const code = WRITTEN_CODES.get(dtype);
  if (code === undefined) {
    throw new FormatError('npy.write-dtype', `${dtype} has no form in npy files`, { file: 'npy writer' });
  }
  return byteSizeOf(dtype) === 1 ? `|${code}` : `<${code}`;
}

/** Column-major to row-major: walks the output in order, keeping the input's offset by index. */
function fortranToC(bytes: Uint8Array, shape: readonly number[], itemSize: number): Uint8Array {
  const out = new Uint8Array(bytes.byteLength);
  if (out.byteLength === 0) return out;
  const strides: number[] = [];
  let stride = itemSize;
  for (const size of shape) {
    strides.push(stride);
    stride *= size;
  }
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < out.byteLength; to += itemSize) {
    for (let i = 0; i < itemSize; i++) out[to + i] = bytes[from + i]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}
