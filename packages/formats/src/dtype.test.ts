import { expect, test } from 'vitest';
import { crc32, crc32c } from './crc.ts';
import { byteLengthOf, byteSizeOf, DTYPES, elementCount, swapBytes, typedArrayOf } from './dtype.ts';

test('sizes of elements', () => {
  const sizes = Object.fromEntries(DTYPES.map((dtype) => [dtype, byteSizeOf(dtype)]));
  expect(sizes).toMatchObject({
    float64: 8,
    bfloat16: 2,
    float8_e5m2: 1,
    int64: 8,
    bool: 1,
    complex64: 8,
    complex128: 16,
  });
});

test('element counts are exact or null', () => {
  expect(elementCount([])).toBe(1);
  expect(elementCount([2, 3, 4])).toBe(24);
  expect(elementCount([0, 7])).toBe(0);
  expect(elementCount([2 ** 27, 2 ** 27])).toBeNull();
  expect(elementCount([2 ** 27, 2 ** 27, 0])).toBeNull();
  expect(elementCount([-1])).toBeNull();
  expect(elementCount([1.5])).toBeNull();
  expect(byteLengthOf('float64', [2 ** 51])).toBeNull();
  expect(byteLengthOf('float64', [3])).toBe(24);
});

test('typed arrays at any alignment', () => {
  const bytes = new Uint8Array([9, 0, 0, 128, 63, 0, 0, 0, 64]);
  expect([...typedArrayOf('float32', bytes.subarray(1))]).toEqual([1, 2]);
  expect([...typedArrayOf('float32', Buffer.from(bytes.buffer, 1))]).toEqual([1, 2]);
  expect(typedArrayOf('complex128', new Uint8Array(32))).toHaveLength(4);
});

test('bytes swapped by unit', () => {
  expect([...swapBytes(Uint8Array.of(1, 2, 3, 4), 2)]).toEqual([2, 1, 4, 3]);
  expect([...swapBytes(Uint8Array.of(1, 2, 3, 4), 4)]).toEqual([4, 3, 2, 1]);
});

test('check values of both CRCs, whole and in parts', () => {
  const bytes = new TextEncoder().encode('123456789');
  expect(crc32(bytes)).toBe(0xcbf43926);
  expect(crc32c(bytes)).toBe(0xe3069283);
  for (let cut = 0; cut <= 9; cut++) expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(0xcbf43926);
});
