// Element types, by PyTorch's names.

import { TensorError } from './errors.ts';

export type DType =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'bool';

/** Arrays that hold a tensor's values in JavaScript. Half-precision types come as their 16 raw bits. */
export type TypedArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

type TypedArrayConstructor = new (buffer: ArrayBuffer) => TypedArray;

const ARRAYS: Record<DType, TypedArrayConstructor> = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  bool: Uint8Array,
};

/** A typed array over `buffer` whose elements are those of `dtype`. */
export function typedArrayOver(dtype: DType, buffer: ArrayBuffer): TypedArray {
  return new ARRAYS[dtype](buffer);
}

/** The dtype whose values a typed array holds; Uint16Array is uint16, never a half. */
export function dtypeOf(array: TypedArray): DType {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Float64Array) return 'float64';
  if (array instanceof BigInt64Array) return 'int64';
  if (array instanceof Int32Array) return 'int32';
  if (array instanceof Int16Array) return 'int16';
  if (array instanceof Int8Array) return 'int8';
  if (array instanceof Uint8Array) return 'uint8';
  if (array instanceof Uint16Array) return 'uint16';
  if (array instanceof Uint32Array) return 'uint32';
  throw new TensorError(
    'TORCH',
    `fromTypedArray: expected a typed array of a dtype held here, got ${Object.prototype.toString.call(array).slice(8, -1)}`,
    { operation: 'fromTypedArray' },
  );
}

/** Smallest and largest whole number of the integer types; int64 as far as JavaScript numbers are exact. */
export const INTEGER_RANGES: Partial<Record<DType, readonly [low: number, high: number]>> = {
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  int8: [-128, 127],
  uint8: [0, 255],
  uint16: [0, 2 ** 16 - 1],
  uint32: [0, 2 ** 32 - 1],
};

/** Is this one of the dtypes that libtorch holds here? */
export function isDType(name: string): name is DType {
  return Object.hasOwn(ARRAYS, name);
}
