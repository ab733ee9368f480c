import { copyFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, expect, it } from 'vitest';
import { encodePng } from '../../data/contact-sheet.ts';
import { disc } from '../picture-archives.test-support.ts';
import { openFolderSet } from './image-set.ts';
import { PROTOCOLS } from './protocols.ts';

const root = mkdtempSync(join(tmpdir(), 'image-set-'));
afterAll(() => rmSync(root, { recursive: true }));

async function folder(name: string, sizes: Record<string, number>): Promise<string> {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, size] of Object.entries(sizes))
    writeFileSync(join(path, file), await encodePng(disc(1, 0, { size })));
  return path;
}

it('what is transparent is dropped under the Inception protocols, and laid on white under the local one', async () => {
  const path = await folder('alpha', {});
  const pixel = { data: Uint8Array.from([10, 20, 30, 0]), info: { width: 1, height: 1, channels: 4 as const } };
  await sharp(pixel.data, { raw: pixel.info }).png().toFile(join(path, 'a.png'));
  const seen = async (name: keyof typeof PROTOCOLS): Promise<[number[], string]> => {
    const set = await openFolderSet(path, undefined, { alpha: PROTOCOLS[name].alpha });
    const batch = await set.read(0, 1);
    const bytes = [...new Uint8Array(batch.toBytes())];
    batch.dispose();
    return [bytes, set.fingerprint];
  };
  const [local, dropped] = [await seen('local'), await seen('fid')];
  expect([local[0], dropped[0]]).toEqual([
    [255, 255, 255],
    [10, 20, 30],
  ]);
  expect(local[1]).not.toBe(dropped[1]);
  for (const name of ['autonat', 'enat', 'adm'] as const) expect(await seen(name)).toEqual(dropped);
});

it("the size is the first picture's, whichever is read first", async () => {
  const path = await folder('sizes', { 'a.png': 8, 'b.png': 6, 'c.png': 6 });
  const set = await openFolderSet(path, undefined);
  expect(set.pixels).toBe(64);
  await expect(set.read(1, 2)).rejects.toThrow(/got 8×8 \(a.png\) and 6×6 \(b.png\)/);
  const squared = await openFolderSet(path, 4);
  expect(squared.pixels).toBe(16);
  const batch = await squared.read(1, 2);
  expect(batch.shape).toEqual([2, 4, 4, 3]);
  batch.dispose();
});

it('the fingerprint notices a file that was written anew, the listing is the same for a copy', async () => {
  const path = await folder('times', { 'a.png': 8 });
  const before = await openFolderSet(path, undefined);
  expect((await openFolderSet(path, undefined)).fingerprint).toBe(before.fingerprint);
  utimesSync(join(path, 'a.png'), 1, 1);
  const after = await openFolderSet(path, undefined);
  expect(after.fingerprint).not.toBe(before.fingerprint);
  const copy = await folder('copy', {});
  copyFileSync(join(path, 'a.png'), join(copy, 'a.png'));
  expect((await openFolderSet(copy, undefined)).listing).toBe(after.listing);
  writeFileSync(join(copy, 'a.png'), await encodePng(disc(2, 0, { size: 8, noise: 200 })));
  expect((await openFolderSet(copy, undefined)).listing).not.toBe(after.listing);
});

it('a folder of samples is its pictures, without the grid', async () => {
  const path = await folder('samples', {
    '00000-food-s1.png': 8,
    '00001-food-s1.png': 8,
    'grid.png': 16,
    'reveal.webp': 16,
  });
  expect((await openFolderSet(path, undefined)).count).toBe(2);
});
