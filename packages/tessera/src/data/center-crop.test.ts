// Equality with Pillow on recorded pictures is the parity suite's (kind center-crop).
import { expect, test } from 'vitest';
import { centerCrop, roundHalfToEven } from './center-crop.ts';

test('ties are rounded to even', () => {
  expect([0.5, 1.5, 2.5, 2.4999, 2.5001, 3.5, 7].map(roundHalfToEven)).toEqual([0, 2, 2, 2, 3, 4, 7]);
});

test('the middle of a wide and of a tall picture', () => {
  const wide = { width: 5, height: 2, data: Uint8Array.from({ length: 30 }, (_, i) => i) };
  // offset (5 - 2) // 2 = 1: columns 1 and 2
  expect([...centerCrop(wide, 2).data]).toEqual([3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23]);
  const tall = { width: 1, height: 4, data: Uint8Array.from({ length: 12 }, (_, i) => i) };
  expect([...centerCrop(tall, 1).data]).toEqual([3, 4, 5]);
});

test('a size that is no whole positive number is refused', () => {
  const image = { width: 1, height: 1, data: new Uint8Array(3) };
  expect(() => centerCrop(image, 0)).toThrow(expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }));
});
