import { expect, test } from 'vitest';
import { type DType, dtypeOf, isDType, typedArrayOver } from './dtype.ts';
import { fromBytes, fromTypedArray, scope, type TypedArray, tensor } from './index.ts';

const DTYPES: readonly DType[] = [
  'float64',
  'float32',
  'float16',
  'bfloat16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'uint16',
  'uint32',
  'bool',
];

test.each(DTYPES)('%s goes in and comes out, as numbers, as an array and as bytes', (dtype) => {
  scope(() => {
    const values = dtype === 'bool' ? [0, 1, 1, 0] : [0, 1, 2, 100];
    const x = tensor(values, dtype);
    expect([x.dtype, x.shape, x.device, x.numel]).toEqual([dtype, [4], 'cpu', 4]);
    expect(x.toNumbers()).toEqual(values);
    const again = fromBytes(x.toBytes(), [2, 2], dtype);
    expect([again.dtype, again.shape]).toEqual([dtype, [2, 2]]);
    expect(again.toNumbers()).toEqual(values);
    expect(fromBytes(x.toTypedArray(), [4], dtype).equal(x)).toBe(true);
    expect(isDType(dtype)).toBe(true);
  });
});

test('extreme values keep their bits', () => {
  const arrays: TypedArray[] = [
    Float64Array.of(Number.MIN_VALUE, -0, Number.MAX_VALUE, Number.POSITIVE_INFINITY, Number.NaN),
    Float32Array.of(1e-45, -0, 3.4e38, Number.NEGATIVE_INFINITY, Number.NaN),
    BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n),
    Int32Array.of(-(2 ** 31), 2 ** 31 - 1),
    Int16Array.of(-(2 ** 15), 2 ** 15 - 1),
    Int8Array.of(-128, 127),
    Uint8Array.of(0, 255),
    Uint16Array.of(0, 65535),
    Uint32Array.of(0, 2 ** 32 - 1),
  ];
  scope(() => {
    for (const array of arrays) {
      const x = fromTypedArray(array);
      expect(x.dtype).toBe(dtypeOf(array));
      expect(x.toTypedArray()).toEqual(array);
      expect(x.toTypedArray().constructor).toBe(array.constructor);
    }
  });
});

test('halves are exposed as their raw bits and as rounded numbers', () => {
  scope(() => {
    const half = tensor([1, -2, 65504, 0.1], 'float16');
    expect([...(half.toTypedArray() as Uint16Array)].slice(0, 3)).toEqual([0x3c00, 0xc000, 0x7bff]);
    expect(half.toNumbers()[3]).toBe(0.0999755859375);
    const brain = tensor([1, -2, 0.1], 'bfloat16');
    expect([...(brain.toTypedArray() as Uint16Array)]).toEqual([0x3f80, 0xc000, 0x3dcd]);
    expect(brain.toNumbers()[2]).toBe(0.10009765625);
  });
});

test('arrays of other types are refused by name', () => {
  for (const array of [BigUint64Array.of(1n), Uint8ClampedArray.of(1), [1, 2], 'text', undefined]) {
    expect(() => dtypeOf(array as never)).toThrow(
      /^fromTypedArray: expected a typed array of a dtype held here, got \w+$/,
    );
  }
  expect(['float8', 'toString', '', '__proto__'].map(isDType)).toEqual([false, false, false, false]);
  expect(() => typedArrayOver('int32', new ArrayBuffer(6))).toThrow(RangeError);
});
