import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomCrop } from './crops.ts';
import { decodeImage } from './image.ts';
import type { ImageItem } from './image-folder.ts';
import { PictureSet, type Visit } from './picture-set.ts';

const SIZE = 4;
const BYTES = SIZE * SIZE * 3;

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tessera-pictures-'));
  for (const level of [10, 20, 30]) {
    const background = { r: level, g: 0, b: 0 };
    await sharp({ create: { width: 9, height: 6, channels: 3, background } })
      .png()
      .toFile(join(root, `${level}.png`));
  }
  await sharp({ create: { width: 4, height: 4, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } })
    .png()
    .toFile(join(root, 'clear.png'));
  const noise = Buffer.from(Array.from({ length: 40 * 30 * 3 }, (_, i) => (i * i) % 251));
  await sharp(noise, { raw: { width: 40, height: 30, channels: 3 } })
    .png()
    .toFile(join(root, 'noise.png'));
  await writeFile(join(root, 'empty.png'), '');
  await writeFile(join(root, 'text.jpg'), 'hello');
});
afterAll(() => rm(root, { recursive: true, force: true }));

function items(...names: string[]): ImageItem[] {
  return names.map((name, label) => ({ path: join(root, name), relativePath: name, label }));
}

async function withSet<T>(names: string[], kept: number, work: (set: PictureSet) => Promise<T>): Promise<T> {
  const set = new PictureSet(items(...names), { size: SIZE, memory: kept * BYTES });
  try {
    return await work(set);
  } finally {
    await set.close();
  }
}

const first = (set: PictureSet, index: number): number => set.pixels({ index })[0]!;

test('what fits is decoded at once, in the order of the list; broken files are reported and leave', () =>
  withSet(['text.jpg', '20.png', 'empty.png', '10.png', '30.png', 'clear.png'], 6, async (set) => {
    const progress: number[] = [];
    expect(set.fits).toBe(true);
    for await (const done of set.load()) progress.push(done);
    expect(progress).toEqual([1, 2, 3, 4, 5, 6]);
    // Transparency is laid on white.
    expect([0, 1, 2, 3].map((index) => first(set, index))).toEqual([20, 10, 30, 255]);
    expect([set.numImages, set.labels]).toEqual([4, [1, 3, 4, 5]]);
    expect(set.skipped.map(({ path }) => path)).toEqual([join(root, 'text.jpg'), join(root, 'empty.png')]);
    expect(set.skipped[1]!.reason).toMatch(/empty file/);
    const { pixels, labels } = await set.block(3);
    expect([pixels.length, pixels[BYTES], labels]).toEqual([3 * BYTES, 10, [1, 3, 4]]);
  }));

test('beyond the budget pictures are there for the visits that were prepared, and no others', () =>
  withSet(['10.png', '20.png', '30.png', 'noise.png'], 1, async (set) => {
    expect(set.fits).toBe(false);
    await set.prepare([{ index: 2 }, { index: 1 }]);
    expect([first(set, 2), first(set, 1)]).toEqual([30, 20]);
    await set.prepare([{ index: 0 }], [{ index: 3 }]);
    expect(first(set, 0)).toBe(10);
    // Kept: whichever of the first two was decoded first.
    const there = [1, 2].filter((index) => {
      try {
        return first(set, index) > 0;
      } catch (error) {
        expect(error).toMatchObject({ code: 'NOT_PREPARED' });
        return false;
      }
    });
    expect(there.length).toBe(1);
  }));

test('a broken file is replaced by the next that can be read, and said once', () =>
  withSet(['30.png', 'text.jpg', 'empty.png', '20.png'], 0, async (set) => {
    for (let i = 0; i < 2; i++) {
      await set.prepare([{ index: 1 }, { index: 2 }]);
      expect([first(set, 1), first(set, 2)]).toEqual([20, 20]);
    }
    expect(set.skipped.length).toBe(2);
    const blocks = [];
    for await (const { labels, pixels } of set.blocks(1)) blocks.push([labels[0], pixels[0]]);
    expect(blocks).toEqual([
      [0, 30],
      [3, 20],
    ]);
  }));

test('a folder where nothing can be read is an error', () =>
  withSet(['text.jpg', 'empty.png'], 0, async (set) => {
    await expect(set.prepare([{ index: 1 }])).rejects.toMatchObject({ code: 'FOLDER_ALL_BROKEN' });
    expect((await set.block(2)).labels).toEqual([]);
  }));

test('a random crop is that of its words, another at each visit', () =>
  withSet(['noise.png'], 5, async (set) => {
    const words = [[5, 2 ** 31, 2 ** 32 - 1], [2 ** 32 - 1, 0, 2 ** 31]] as const; // biome-ignore format: one row
    const visits = words.map((crop): Visit => ({ index: 0, crop }));
    await set.prepare(visits);
    const image = await decodeImage(join(root, 'noise.png'));
    for (const [i, crop] of words.entries()) {
      const rest = [...crop];
      const draw = (low: number, high: number) => low + Math.floor((rest.shift()! / 2 ** 32) * (high - low));
      expect(Buffer.from(set.pixels(visits[i]!)).equals(Buffer.from(randomCrop(image, SIZE, draw).data))).toBe(true);
    }
    expect(Buffer.from(set.pixels(visits[0]!)).equals(Buffer.from(set.pixels(visits[1]!)))).toBe(false);
  }));
