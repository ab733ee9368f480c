import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodePng } from '../../data/contact-sheet.ts';
import { type FitImages, loadFitImages } from './images.ts';

const SIZE = 8;
const HELD_OUT = 600;

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fit images '));
  const picture = await encodePng({ width: SIZE, height: SIZE, data: new Uint8Array(SIZE * SIZE * 3).fill(9) });
  for (const name of ['a', 'b']) {
    mkdirSync(join(folder, 'train', name), { recursive: true });
    mkdirSync(join(folder, 'held-out', name), { recursive: true });
    writeFileSync(join(folder, 'train', name, '0.png'), picture);
    for (let i = 0; i < HELD_OUT / 2; i++) writeFileSync(join(folder, 'held-out', name, `${i}.png`), picture);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

async function load(memory?: number): Promise<FitImages> {
  const loading = loadFitImages(folder, { size: SIZE, seed: 0, memory, signal: undefined });
  let next = await loading.next();
  while (!next.done) next = await loading.next();
  return next.value;
}

test('as many pictures of all classes are measured on as are enough, kept or not', async () => {
  const kept = await load();
  expect(kept.heldOut.numImages).toBe(HELD_OUT);
  expect(kept.measured.labels).toHaveLength(512);
  expect(kept.measured.pixels).toHaveLength(512 * SIZE * SIZE * 3);
  expect(kept.measured.pixels.every((value) => value === 9)).toBe(true);
  expect(kept.measured.labels.filter((label) => label === 1)).toHaveLength(256);
  expect(await kept.sample()).toBe(kept.measured);
  await kept.close();

  const few = await load(8 * 10 * SIZE * SIZE * 3); // ten held-out pictures
  expect(few.heldOut.fits).toBe(false);
  expect(few.measured.labels).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
  await few.close();
});
