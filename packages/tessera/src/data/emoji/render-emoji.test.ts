import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decodeImage } from '../image.ts';
import { scanImageFolder } from '../image-folder.ts';
import { readEmojiIcons } from './icon-sets.ts';
import { renderEmoji } from './render-emoji.ts';

/** The first 20 code points of two classes: the whole set takes too long for a unit test. */
const whole = readEmojiIcons();
const source = { ...whole, icons: ['clocks', 'hearts'].flatMap(firstOf) };
function firstOf(className: string) {
  const icons = whole.icons.filter((icon) => icon.className === className);
  const points = [...new Set(icons.map(({ codePoint }) => codePoint))].slice(0, 20);
  return icons.filter(({ codePoint }) => points.includes(codePoint));
}

let parent: string;
let out: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'tessera emoji '));
  out = join(parent, 'emoji');
});
afterEach(() => rm(parent, { recursive: true, force: true }));

test('an image folder in two parts that share no code point', async () => {
  const progress: number[] = [];
  const summary = await renderEmoji({ out, size: 16, source, onProgress: (done) => progress.push(done) });
  expect(summary).toMatchObject({ rendered: true, size: 16, train: 108, heldOut: 12, codePoints: 40 });
  expect(progress.at(-1)).toBe(120);
  expect(await readdir(parent)).toEqual(['emoji']);
  const { rendered: _, ...written } = summary;
  expect(JSON.parse(await readFile(join(out, 'dataset.json'), 'utf8'))).toEqual(written);
  expect(await readFile(join(out, 'credits.txt'), 'utf8')).toMatch(/Twitter.*CC-BY-4\.0/);

  const train = await scanImageFolder(join(out, 'train'));
  const heldOut = await scanImageFolder(join(out, 'held-out'));
  expect(train.classes).toEqual(['clocks', 'hearts']);
  const pointOf = (path: string) => path.split('/')[1]!.replace(/-(noto|twemoji|fluent-emoji-flat)\.png$/, '');
  const trained = new Set(train.items.map(({ relativePath }) => pointOf(relativePath)));
  for (const { relativePath } of heldOut.items) expect(trained).not.toContain(pointOf(relativePath));
  expect([train.items.length, heldOut.items.length]).toEqual([108, 12]);
});

test('pictures are drawn on white, with colours', async () => {
  await renderEmoji({ out, size: 32, source });
  const side = existsSync(join(out, 'train/hearts/1f49a-twemoji.png')) ? 'train' : 'held-out';
  const { width, height, data } = await decodeImage(join(out, side, 'hearts/1f49a-twemoji.png'));
  expect([width, height]).toEqual([32, 32]);
  expect([...data.subarray(0, 3)]).toEqual([255, 255, 255]);
  const middle = (16 * 32 + 16) * 3;
  // Twemoji's green heart is #78B159.
  expect([...data.subarray(middle, middle + 3)]).toEqual([0x78, 0xb1, 0x59]);
});

test('made once, repaired when damaged, made again for another size', async () => {
  await renderEmoji({ out, size: 8, source });
  expect((await renderEmoji({ out, size: 8, source })).rendered).toBe(false);
  const victim = join(out, 'train/clocks', (await readdir(join(out, 'train/clocks')))[0]!);
  await rm(victim);
  expect((await renderEmoji({ out, size: 8, source })).rendered).toBe(true);
  expect(existsSync(victim)).toBe(true);
  expect((await renderEmoji({ out, size: 9, source })).rendered).toBe(true);
  expect((await decodeImage(victim)).width).toBe(9);
});

test('what a killed run left is removed; an abort leaves nothing', async () => {
  await mkdir(`${out}.partial-999999999/train`, { recursive: true });
  const abort = new AbortController();
  const onProgress = (done: number) => (done === 5 ? abort.abort() : undefined);
  await expect(renderEmoji({ out, size: 8, source, onProgress, signal: abort.signal })).rejects.toThrow(/abort/i);
  expect(await readdir(parent)).toEqual([]);
  expect((await renderEmoji({ out, size: 8, source })).rendered).toBe(true);
});

test('a folder with other files, a file and a bad size are refused', async () => {
  await mkdir(out);
  await writeFile(join(out, 'holiday.jpg'), 'mine');
  await expect(renderEmoji({ out, size: 8, source })).rejects.toMatchObject({ code: 'EMOJI_OUTPUT_TAKEN' });
  expect(await readFile(join(out, 'holiday.jpg'), 'utf8')).toBe('mine');
  const file = join(out, 'holiday.jpg');
  await expect(renderEmoji({ out: file, size: 8, source })).rejects.toMatchObject({ code: 'EMOJI_OUTPUT_TAKEN' });
  await expect(renderEmoji({ out, size: 7.5, source })).rejects.toMatchObject({ code: 'RESIZE_BAD_SIZE' });
});
