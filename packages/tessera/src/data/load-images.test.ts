import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ImageItem } from './image-folder.ts';
import { loadImages } from './load-images.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tessera-load-'));
  for (const level of [10, 20, 30]) {
    await sharp({ create: { width: 9, height: 6, channels: 3, background: { r: level, g: 0, b: 0 } } })
      .png()
      .toFile(join(root, `${level}.png`));
  }
  await sharp({ create: { width: 4, height: 4, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } } })
    .png()
    .toFile(join(root, 'clear.png'));
  await writeFile(join(root, 'empty.png'), '');
  await writeFile(join(root, 'text.jpg'), 'hello');
});
afterAll(() => rm(root, { recursive: true, force: true }));

function items(...names: string[]): ImageItem[] {
  return names.map((name, label) => ({ path: join(root, name), relativePath: name, label }));
}

test('pixels and labels in the order of the list, broken files reported and left out', async () => {
  const progress: number[] = [];
  const loaded = await loadImages(items('text.jpg', '20.png', 'empty.png', '10.png', '30.png'), 4, {
    concurrency: 3,
    onProgress: (done, total) => progress.push(done / total),
  });
  expect(loaded.pixels.length).toBe(3 * 48);
  expect([0, 1, 2].map((i) => loaded.pixels[i * 48])).toEqual([20, 10, 30]);
  expect([...loaded.labels]).toEqual([1, 3, 4]);
  expect(loaded.items.map(({ relativePath }) => relativePath)).toEqual(['20.png', '10.png', '30.png']);
  expect(loaded.skipped.map(({ path }) => path)).toEqual([join(root, 'text.jpg'), join(root, 'empty.png')]);
  expect(loaded.skipped[1]!.reason).toMatch(/empty file/);
  expect(progress.at(-1)).toBe(1);
});

test('transparency is laid on white here, unless asked otherwise', async () => {
  expect(new Set((await loadImages(items('clear.png'), 4)).pixels)).toEqual(new Set([255]));
  expect(new Set((await loadImages(items('clear.png'), 4, { alpha: 'drop' })).pixels)).toEqual(new Set([0]));
});

test('no image at all is an error, an empty list is not', async () => {
  await expect(loadImages(items('empty.png', 'text.jpg'), 4)).rejects.toMatchObject({ code: 'FOLDER_ALL_BROKEN' });
  expect((await loadImages([], 4)).pixels.length).toBe(0);
});

test('a bad size is the caller’s error, not a broken file; an abort ends the work', async () => {
  await expect(loadImages(items('10.png'), 4.5)).rejects.toMatchObject({ code: 'RESIZE_BAD_SIZE' });
  await expect(loadImages(items('10.png'), 4, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
});
