import { expect, test } from 'vitest';
import { type DType, fromBytes, fromTypedArray, scope, TensorError, tensor } from './index.ts';

function messageOf(run: () => unknown): string {
  try {
    scope(run);
  } catch (error) {
    return error instanceof TensorError ? `${error.operation}, ${error.message}` : String(error);
  }
  return 'no error';
}

test('nested arrays give their shape and values, in C order', () => {
  scope(() => {
    const shapeOf = (values: Parameters<typeof tensor>[0]) => tensor(values).shape;
    expect(shapeOf(5)).toEqual([]);
    expect(shapeOf([])).toEqual([0]);
    expect(shapeOf([[], []])).toEqual([2, 0]);
    expect(shapeOf([[[1], [2], [3]], [[4], [5], [6]]])).toEqual([2, 3, 1]); // biome-ignore format: the shape
    expect(tensor([[1, 2], [3, 4]]).toNumbers()).toEqual([1, 2, 3, 4]); // biome-ignore format: the matrix
    expect(tensor([1.5, -0.25]).dtype).toBe('float32');
    expect(tensor([0.5, 0, Number.NaN], 'bool').toNumbers()).toEqual([1, 0, 1]);
  });
});

test.each([
  ['ragged', [[1, 2], [3]]], // biome-ignore format: rows
  ['ragged', [[1], []]],
  ['ragged', [[], [1]]],
  ['ragged', [1, [2]]],
  ['ragged', [[1], 2]],
  ['ragged', [[[1]], [2]]],
  ['type string', ['a']],
  ['type null', [null]],
  ['type undefined', [undefined]],
  ['type undefined', undefined],
  ['type boolean', [true]],
  ['type bigint', [[1n]]],
  ['type object', { length: 1 }],
])('%s values are refused (%#)', (what, values) => {
  expect(messageOf(() => tensor(values as never))).toMatch(new RegExp(`^tensor, tensor: expected .*${what}`));
});

test('a hole in an array is not a number', () => {
  expect(messageOf(() => tensor(new Array(2) as never))).toMatch(/type undefined/);
});

test.each<[DType, number]>([
  ['int64', 1.5],
  ['int64', 2 ** 53],
  ['int64', Number.NaN],
  ['int32', 2 ** 31],
  ['int16', -32769],
  ['int8', 128],
  ['uint8', -1],
  ['uint8', 256],
  ['uint16', 65536],
  ['uint32', 2 ** 32],
  ['int32', Number.POSITIVE_INFINITY],
])('%s does not hold %d', (dtype, value) => {
  expect(messageOf(() => tensor([0, value], dtype))).toMatch(`expected ${dtype} values in `);
});

test('unknown dtypes are refused', () => {
  expect(messageOf(() => tensor([1], 'float8' as never))).toBe('tensor, tensor: expected a dtype, got "float8"');
  expect(messageOf(() => fromBytes(new Uint8Array(1), [1], 'float8' as never))).toMatch(/unknown dtype "float8"/);
});

test('bytes must fill the shape exactly, and the shape must make sense', () => {
  const bytes = (shape: unknown, dtype: DType = 'float32') =>
    messageOf(() => fromBytes(new Uint8Array(8), shape as number[], dtype));
  expect(bytes([2])).toBe('no error');
  expect(bytes([1, 2, 1])).toBe('no error');
  expect(bytes([], 'float64')).toBe('no error');
  expect(bytes([3])).toBe('fromBytes, fromBytes: the shape needs 12 bytes, the data has 8');
  expect(bytes([1])).toMatch(/needs 4 bytes, the data has 8/);
  expect(bytes([0])).toMatch(/needs 0 bytes, the data has 8/);
  expect(bytes([-2])).toMatch(/negative size/);
  expect(bytes([-2, -1])).toMatch(/negative size/);
  expect(bytes([2 ** 40, 2 ** 40])).toMatch(/more than 2\^48 entries/);
  expect(bytes([1.5])).toMatch(/array of integers/);
  expect(bytes([Number.POSITIVE_INFINITY])).toMatch(/fromBytes: /);
  expect(bytes('2')).toMatch(/array of integers/);
  expect(bytes([2], undefined)).toBe('no error');
});

test('any typed array or ArrayBuffer serves as bytes, at its own offset; the values are copied', () => {
  scope(() => {
    const store = Float32Array.of(1, 2, 3, 4);
    const view = store.subarray(1, 3);
    const x = fromTypedArray(view);
    view.fill(9);
    expect(x.toNumbers()).toEqual([2, 3]);
    expect(fromBytes(store.buffer, [2, 2], 'float32').toNumbers()).toEqual([1, 9, 9, 4]);
    expect(fromBytes(new ArrayBuffer(0), [0, 5], 'int64').shape).toEqual([0, 5]);
  });
  for (const data of [[1, 2], 'text', null, { length: 8 }]) {
    expect(messageOf(() => fromBytes(data as never, [2], 'float32'))).toMatch(/expected a typed array/);
  }
});
