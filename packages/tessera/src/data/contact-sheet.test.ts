import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { animatedGif, animatedWebp, gridImage, gridPng } from './contact-sheet.ts';
import { decodeImage, type RgbImage } from './image.ts';

function flat(width: number, height: number, ...color: number[]): RgbImage {
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => color[i % 3]!) };
}

describe('grid', () => {
  test('places, gaps and whole enlargement', () => {
    const { width, height, data } = gridImage([flat(1, 1, 1, 2, 3), flat(1, 1, 4, 5, 6), flat(1, 1, 7, 8, 9)], {
      columns: 2,
      scale: 2,
      gap: 1,
      background: [50, 60, 70],
    });
    expect([width, height]).toEqual([7, 7]);
    const red = Array.from({ length: 7 }, (_, y) =>
      [...data.subarray(y * 21, y * 21 + 21)].filter((_, i) => i % 3 === 0),
    );
    expect(red).toEqual([
      [50, 50, 50, 50, 50, 50, 50],
      [50, 1, 1, 50, 4, 4, 50],
      [50, 1, 1, 50, 4, 4, 50],
      [50, 50, 50, 50, 50, 50, 50],
      [50, 7, 7, 50, 50, 50, 50],
      [50, 7, 7, 50, 50, 50, 50],
      [50, 50, 50, 50, 50, 50, 50],
    ]);
    expect([...data.subarray((7 + 1) * 3, (7 + 1) * 3 + 3)]).toEqual([1, 2, 3]);
  });

  test('the PNG holds exactly these pixels', async () => {
    const images = Array.from({ length: 5 }, (_, i) => flat(4, 3, i * 50, 255 - i, i));
    const expected = gridImage(images);
    const read = await decodeImage(await gridPng(images));
    expect([read.width, read.height]).toEqual([3 * 6 + 2, 2 * 5 + 2]);
    expect(Buffer.compare(read.data, expected.data)).toBe(0);
  });

  test('no pictures, mixed sizes and odd options are refused', () => {
    for (const bad of [
      () => gridImage([]),
      () => gridImage([flat(2, 2, 0, 0, 0), flat(2, 3, 0, 0, 0)]),
      () => gridImage([{ width: 2, height: 2, data: new Uint8Array(3) }]),
      () => gridImage([flat(1, 1, 0, 0, 0)], { scale: 1.5 }),
      () => gridImage([flat(1, 1, 0, 0, 0)], { columns: 0 }),
    ]) {
      expect(bad).toThrow(expect.objectContaining({ code: 'SHEET_BAD_IMAGES' }));
    }
  });
});

describe('animation', () => {
  const frames = [flat(6, 5, 200, 10, 10), flat(6, 5, 10, 200, 10), flat(6, 5, 10, 10, 200), flat(6, 5, 90, 90, 90)];

  for (const [name, encode] of [
    ['webp', animatedWebp],
    ['gif', animatedGif],
  ] as const) {
    test(`${name}: pages, delays, repetition and pixels read back`, async () => {
      const file = await encode(frames, { delayMs: 100, lastDelayMs: 900, loop: 3 });
      const about = await sharp(file, { pages: -1 }).metadata();
      expect(about).toMatchObject({ format: name, width: 6, pageHeight: 5, pages: 4, loop: 3 });
      expect(about.delay).toEqual([100, 100, 100, 900]);
      for (const [page, { data }] of frames.entries()) {
        const pixels = await sharp(file, { page }).removeAlpha().raw().toBuffer();
        expect(Buffer.compare(pixels, data)).toBe(0);
      }
    });

    test(`${name}: a frame that repeats the one before lengthens it`, async () => {
      const file = await encode([frames[0]!, frames[1]!, frames[1]!], { delayMs: 100, lastDelayMs: 900 });
      expect((await sharp(file, { pages: -1 }).metadata()).delay).toEqual([100, 1000]);
    });

    test(`${name}: no frames are refused`, async () => {
      await expect(encode([])).rejects.toMatchObject({ code: 'SHEET_BAD_IMAGES' });
    });
  }
});
