import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ImageFolder } from './image-folder.ts';
import { openImageSource } from './image-source.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera source '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function file(path: string, content: string | Uint8Array = ''): string {
  const whole = join(folder, path);
  mkdirSync(join(whole, '..'), { recursive: true });
  writeFileSync(whole, content);
  return whole;
}

/** A POSIX archive. */
function tar(path: string, members: Record<string, string>): string {
  const blocks: Buffer[] = [];
  for (const [name, text] of Object.entries(members)) {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(`${text.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('        0', 148);
    header.write('ustar\0', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const data = Buffer.alloc(Math.ceil(text.length / 512) * 512);
    data.write(text);
    blocks.push(header, data);
  }
  return file(path, Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

const labels = ({ items }: ImageFolder): [string, number][] =>
  items.map(({ relativePath, label }) => [relativePath, label]);

test('a folder of splits is refused, one of them is read', async () => {
  file('train/b/1.png');
  file('train/a/1.png');
  file('val/a/1.png');
  await expect(openImageSource(folder)).rejects.toMatchObject({ code: 'FOLDER_OF_SPLITS' });
  const { classes } = await openImageSource(join(folder, 'train'));
  expect(classes).toEqual(['a', 'b']);
});

test('tar files: samples with .cls and .json, over several archives', async () => {
  tar('b.tar', { 'x/7.cls': '4', 'x/7.jpg': 'jj' });
  tar('a.tar', {
    '1.jpg': 'j',
    '1.cls': '2\n',
    '2.json': '{"label": 0, "w": 3}',
    '2.PNG': 'ppp',
    '3.jpg': '',
    '4.txt': '',
  });
  const found = await openImageSource(folder);
  expect(labels(found)).toEqual([
    ['a.tar/1.jpg', 2],
    ['a.tar/2.PNG', 0],
    ['b.tar/x/7.jpg', 4],
  ]);
  expect(found.classes).toEqual(['0', '1', '2', '3', '4']);
  expect(found.items[1]!.range!.size).toBe(3);
  expect(found.ignored.map(({ reason }) => reason)).toEqual([
    'not an image by its extension',
    'no .cls or .json with its class',
  ]);
});

test('tar files: masks of samples are no pictures, links are named', async () => {
  const path = tar('masks.tar', { './1.jpg': 'j', './1.seg.png': 'mask', './1.cls': '0', './2.seg.jpg': '' });
  const bytes = readFileSync(path);
  // The last member becomes a link.
  const header = bytes.subarray(3 * 1024, 3 * 1024 + 512);
  header.write('2', 156);
  header.write('        ', 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  writeFileSync(path, bytes);
  const { items, ignored } = await openImageSource(path);
  expect(items.map(({ relativePath }) => relativePath)).toEqual(['masks.tar/./1.jpg']);
  expect(ignored.map(({ reason }) => reason).sort()).toEqual([
    'a link: only files are read',
    'another picture of its sample',
  ]);
});

test('tar files: names as classes, class folders, no classes at all', async () => {
  const named = tar('named.tar', { '1.jpg': '', '1.cls': 'tench', '2.jpg': '', '2.cls': 'cock' });
  expect((await openImageSource(named)).classes).toEqual(['cock', 'tench']);
  const folders = tar('folders.tar', { 'n02/a.b.jpg': '', 'n01/c.jpg': '' });
  const found = await openImageSource(folders);
  expect([found.classes, labels(found)]).toEqual([
    ['n01', 'n02'],
    [
      ['folders.tar/n02/a.b.jpg', 1],
      ['folders.tar/n01/c.jpg', 0],
    ],
  ]);
  expect((await openImageSource(tar('flat.tar', { '1.jpg': '' }))).classes).toEqual(['flat']);
  await expect(openImageSource(tar('none.tar', { '1.txt': '' }))).rejects.toMatchObject({ code: 'FOLDER_EMPTY' });
  await expect(openImageSource(tar('bad.tar', { '1.jpg': '', '1.json': '{' }))).rejects.toMatchObject({
    code: 'TAR_CLASSES',
  });
});

test('folders called by ids of ImageNet have its standard names; of a part of it the labels are places in the part', async () => {
  file('val/n01440764/1.JPEG');
  file('val/n15075141/1.JPEG');
  const part = await openImageSource(join(folder, 'val'));
  expect(part.classes).toEqual(['tench, Tinca tinca', 'toilet tissue, toilet paper, bathroom tissue']);
  expect(part.items.map(({ label }) => label)).toEqual([0, 1]);
  const whole = await openImageSource(join(folder, 'val'), { classNames: 'imagenet' });
  expect(whole.classes).toHaveLength(1000);
  expect(whole.items.map(({ label }) => label)).toEqual([0, 999]);
  file('val/n00000001/1.JPEG');
  expect((await openImageSource(join(folder, 'val'))).classes).toEqual(['n00000001', 'n01440764', 'n15075141']);
  await expect(openImageSource(join(folder, 'val'), { classNames: 'imagenet' })).rejects.toMatchObject({
    code: 'CLASS_NAMES',
  });
});

test('class names: folders with spaces in their names are found by whole lines', async () => {
  file('dogs/beagle dog/1.png');
  file('dogs/golden retriever/1.png');
  file('dogs/husky/1.png');
  const names = (text: string): Promise<ImageFolder> =>
    openImageSource(join(folder, 'dogs'), { classNames: file('dogs.txt', text) });
  expect((await names('beagle dog\ngolden retriever\nhusky\n')).classes).toEqual([
    ...['beagle dog', 'golden retriever', 'husky'],
  ]);
  await expect(names('golden retriever\nbeagle dog\nhusky\n')).rejects.toThrow('in sorted order');
});

test('class names: by folder name in sorted order, or one a class', async () => {
  file('val/n03/1.png');
  file('val/n01/1.png');
  const names = (text: string): Promise<ImageFolder> =>
    openImageSource(join(folder, 'val'), { classNames: file('names.txt', text) });
  const found = await names('n01 tench, Tinca tinca\nn02 goldfish\nn03 great white shark\n');
  expect(found.classes).toEqual(['tench, Tinca tinca', 'goldfish', 'great white shark']);
  expect(found.items.map(({ label }) => label)).toEqual([0, 2]);
  expect((await names('["tench", "shark"]')).classes).toEqual(['tench', 'shark']);
  const refused = (text: string): Promise<void> => expect(names(text)).rejects.toMatchObject({ code: 'CLASS_NAMES' });
  await refused('n03 shark\nn01 tench\n');
  await refused('n01 tench\nn02 goldfish\n');
  await refused('tench\n\nshark\n');
  await refused('only one\n');
});
