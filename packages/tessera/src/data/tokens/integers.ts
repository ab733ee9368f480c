/** Whole numbers as files hold them, in one typed array that everything here computes with. */
import type { DType } from '@tessera/formats';

const SIZES = { uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4, int64: 8, uint64: 8 } as const;
export type IntegerType = keyof typeof SIZES;

export function isIntegerType(dtype: DType | undefined): dtype is IntegerType {
  return dtype !== undefined && dtype in SIZES;
}

export function integerBytes(dtype: IntegerType): number {
  return SIZES[dtype];
}

/** A stand-in for what does not fit into 32 bits: no token and no label, so that the check of ranges names it. */
const OUT_OF_RANGE = -(2 ** 31);

/** Reads `count` little-endian integers to `into` from `at` on. */
export function readIntegers(bytes: Uint8Array, dtype: IntegerType, count: number, into: Int32Array, at: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = SIZES[dtype];
  for (let i = 0; i < count; i++) into[at + i] = integerAt(view, dtype, i * size);
}

function integerAt(view: DataView, dtype: IntegerType, offset: number): number {
  switch (dtype) {
    case 'uint8':
      return view.getUint8(offset);
    case 'int8':
      return view.getInt8(offset);
    case 'uint16':
      return view.getUint16(offset, true);
    case 'int16':
      return view.getInt16(offset, true);
    case 'int32':
      return view.getInt32(offset, true);
    case 'uint32':
      return view.getUint32(offset, true) < 2 ** 31 ? view.getInt32(offset, true) : OUT_OF_RANGE;
    case 'int64':
    case 'uint64':
      return view.getInt32(offset + 4, true) === 0 && view.getInt32(offset, true) >= 0
        ? view.getInt32(offset, true)
        : OUT_OF_RANGE;
    default:
      return dtype satisfies never;
  }
}

/** The smallest type that holds 0..count-1 and that every tensor operation knows. */
export function smallestIntegerType(count: number): 'uint8' | 'int16' | 'int32' {
  if (count <= 256) return 'uint8';
  if (count <= 32768) return 'int16';
  return 'int32';
}

/** Little-endian integers of `values`. */
export function writeIntegers(values: ArrayLike<number>, dtype: IntegerType, into: Uint8Array, offset: number): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  const size = SIZES[dtype];
  for (let i = 0; i < values.length; i++) {
    const at = offset + i * size;
    const value = values[i]!;
    if (size === 1) view.setUint8(at, value);
    else if (size === 2) view.setUint16(at, value, true);
    else {
      view.setInt32(at, value, true);
      if (size === 8) view.setInt32(at + 4, 0, true);
    }
  }
}
