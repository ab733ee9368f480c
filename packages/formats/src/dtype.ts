/**
 * Element types as the formats here know them, under torch's names, with sizes and typed arrays.
 *
 * JavaScript has no 16-bit float array in Node 20 and no 8-bit floats: those come as raw bits
 * (`Uint16Array`, `Uint8Array`). Complex numbers are interleaved (re, im). bool is one byte, 0 or 1.
 * All hosts that run this are little-endian, as are safetensors and nearly all other files.
 */

const BYTES = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  complex64: 8,
  complex128: 16,
} as const;

export type DType = keyof typeof BYTES;

/** All element types, in a fixed order. */
export const DTYPES = Object.keys(BYTES) as readonly DType[];

export type NumericArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** Size of one element in bytes. */
export function byteSizeOf(dtype: DType): number {
  return BYTES[dtype];
}

export function isDType(text: string): text is DType {
  return Object.hasOwn(BYTES, text);
}

/** Size of the pieces that a change of byte order reverses: half an element for complex numbers. */
export function byteSwapUnit(dtype: DType): number {
  return dtype === 'complex64' ? 4 : dtype === 'complex128' ? 8 : BYTES[dtype];
}

/**
 * Number of elements of a shape, or null if it is not an exact JavaScript integer (above 2^53 - 1).
 * The product is taken over all sizes but zeros first: a zero must not hide an overflow elsewhere.
 */
export function elementCount(shape: readonly number[]): number | null {
  let count = 1;
  let empty = false;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return null;
    if (size === 0) empty = true;
    else count *= size;
    if (count > Number.MAX_SAFE_INTEGER) return null;
  }
  return empty ? 0 : count;
}

/** `elementCount(shape)` elements of `dtype` in bytes, or null if that overflows. */
export function byteLengthOf(dtype: DType, shape: readonly number[]): number | null {
  const count = elementCount(shape);
  if (count === null) return null;
  const bytes = count * BYTES[dtype];
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** Bytes seen as the typed array of `dtype`: a view where alignment allows, else a copy. */
export function typedArrayOf(dtype: DType, bytes: Uint8Array): NumericArray {
  const unit = byteSwapUnit(dtype);
  // Not slice(): on Node's Buffer that is a view and stays misaligned.
  const aligned = bytes.byteOffset % unit === 0 ? bytes : new Uint8Array(bytes);
  const { buffer, byteOffset } = aligned;
  const length = aligned.byteLength / unit;
  switch (dtype) {
    case 'float64':
    case 'complex128':
      return new Float64Array(buffer, byteOffset, length);
    case 'float32':
    case 'complex64':
      return new Float32Array(buffer, byteOffset, length);
    case 'int64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'uint64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'int32':
      return new Int32Array(buffer, byteOffset, length);
    case 'uint32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'int16':
      return new Int16Array(buffer, byteOffset, length);
    case 'uint16':
    case 'float16':
    case 'bfloat16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'int8':
      return new Int8Array(buffer, byteOffset, length);
    case 'uint8':
    case 'bool':
    case 'float8_e4m3fn':
    case 'float8_e5m2':
      return new Uint8Array(buffer, byteOffset, length);
    default:
      return dtype satisfies never;
  }
}

/** The bytes of a typed array, without copying. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A copy with the bytes of every `unit`-sized piece reversed. */
export function swapBytes(bytes: Uint8Array, unit: number): Uint8Array {
  const out = new Uint8Array(bytes.byteLength);
  for (let start = 0; start + unit <= bytes.byteLength; start += unit) {
    for (let i = 0; i < unit; i++) out[start + i] = bytes[start + unit - 1 - i]!;
  }
  return out;
}
