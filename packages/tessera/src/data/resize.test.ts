import { describe, expect, test } from 'vitest';
import type { RgbImage } from './image.ts';
import { resizeImage } from './resize.ts';

/** A grey picture from rows of values. */
function grey(rows: number[][]): RgbImage {
  const data = Uint8Array.from(rows.flat().flatMap((v) => [v, v, v]));
  return { width: rows[0]!.length, height: rows.length, data };
}

function values(image: RgbImage): number[] {
  return [...image.data].filter((_, i) => i % 3 === 0);
}

describe('box', () => {
  test('halving rounds up after each pass, columns first', () => {
    // Rows: (0+1)/2 -> 1, (0+0)/2 -> 0; then (1+0)/2 -> 1. A mean of all four would give 0.
    expect(
      values(
        resizeImage(
          grey([
            [0, 1],
            [0, 0],
          ]),
          1,
          1,
          'box',
        ),
      ),
    ).toEqual([1]);
    expect(
      values(
        resizeImage(
          grey([
            [10, 20, 30, 50],
            [10, 20, 30, 51],
          ]),
          2,
          1,
          'box',
        ),
      ),
    ).toEqual([15, 41]);
  });

  test('an odd length spreads its weights over three inputs', () => {
    // 5 -> 2: windows [0, 2.5) and [2.5, 5); an input counts when its centre is inside.
    expect(values(resizeImage(grey([[0, 30, 60, 90, 120]]), 2, 1, 'box'))).toEqual([30, 105]);
  });

  test('the shortcut for one half equals the general passes', () => {
    const image = {
      width: 8,
      height: 6,
      data: Uint8Array.from({ length: 144 }, (_, i) => (i * 97 + (i >> 3) * 31) % 256),
    };
    const oneAxisAtATime = resizeImage(resizeImage(image, 4, 6, 'box'), 4, 3, 'box');
    expect(resizeImage(image, 4, 3, 'box')).toEqual(oneAxisAtATime);
  });
});

describe('bicubic', () => {
  test('keeps a flat picture flat and copies an equal size', () => {
    const flat = grey(Array.from({ length: 9 }, () => new Array(7).fill(201)));
    expect(new Set(resizeImage(flat, 23, 4, 'bicubic').data)).toEqual(new Set([201]));
    const same = resizeImage(flat, 7, 9, 'bicubic');
    expect(same).toEqual(flat);
    expect(same.data).not.toBe(flat.data);
  });

  test('an edge overshoots and is clipped to 0 and 255', () => {
    // a = -0.5; doubling, phases 1/4 and 3/4: weights -9/128 at the far side, lost to clipping on both ends.
    expect(values(resizeImage(grey([[0, 0, 255, 255]]), 8, 1, 'bicubic'))).toEqual([0, 0, 0, 52, 203, 255, 255, 255]);
  });
});

test('bad sizes and bad pixels are refused', () => {
  const image = grey([[1, 2]]);
  expect(() => resizeImage(image, 0, 1, 'box')).toThrow(expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }));
  expect(() => resizeImage(image, 1.5, 1, 'box')).toThrow(expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }));
  const short = { width: 2, height: 2, data: new Uint8Array(11) };
  expect(() => resizeImage(short, 1, 1, 'box')).toThrow(expect.objectContaining({ code: 'IMAGE_BAD_PIXELS' }));
});
