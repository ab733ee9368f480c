import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openImageFolder, scanImageFolder, splitHeldOut } from './image-folder.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tessera-folder-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function files(...names: string[]) {
  for (const name of names) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), 'x');
  }
}

describe('scanImageFolder', () => {
  test('one class a folder, byte order, any depth, any case of the extension', async () => {
    await files(
      'b/2.PNG',
      'b/10.jpg',
      'b/sub folder/1.webp',
      'Ünder/花.jpeg',
      'a/x.gif',
      'a/.hidden.png',
      '.cache/y.png',
    );
    const { classes, items, ignored } = await scanImageFolder(root);
    expect(classes).toEqual(['a', 'b', 'Ünder']);
    expect(items.map(({ relativePath, label }) => `${label} ${relativePath}`)).toEqual([
      '0 a/x.gif',
      '1 b/10.jpg',
      '1 b/2.PNG',
      '1 b/sub folder/1.webp',
      '2 Ünder/花.jpeg',
    ]);
    expect(items[0]!.path).toBe(join(root, 'a/x.gif'));
    expect(ignored).toEqual([]);
  });

  test('a flat folder is one class named after it', async () => {
    await files('2.tiff', '1.avif', 'notes.txt', 'empty/readme.md');
    const { classes, items, ignored } = await scanImageFolder(root);
    expect(classes).toEqual([basename(root)]);
    expect(items.map(({ relativePath }) => relativePath)).toEqual(['1.avif', '2.tiff']);
    expect(ignored.map(({ path }) => basename(path)).sort()).toEqual(['empty', 'notes.txt', 'readme.md']);
  });

  test('images beside class folders are reported, not taken', async () => {
    await files('a/1.png', 'loose.png');
    const { classes, items, ignored } = await scanImageFolder(root);
    expect([classes, items.length]).toEqual([['a'], 1]);
    expect(ignored).toEqual([{ path: join(root, 'loose.png'), reason: 'beside the class folders' }]);
  });

  test('links are followed, circles end', async () => {
    await files('a/1.png');
    await symlink(root, join(root, 'a', 'up'));
    await symlink(join(root, 'a', '1.png'), join(root, 'a', '2.png'));
    await symlink(join(root, 'gone.png'), join(root, 'a', '3.png'));
    const { items, ignored } = await scanImageFolder(root);
    expect(items.map(({ relativePath }) => relativePath)).toEqual(['a/1.png', 'a/2.png']);
    expect(ignored.map(({ path }) => basename(path)).sort()).toEqual(['3.png', 'up']);
  });

  test('of two names of one folder the first one counts; what is neither file nor folder is passed over', async () => {
    await files('b/1.png', 'c/2.png');
    await symlink(join(root, 'b'), join(root, 'a'));
    await symlink('/dev/zero', join(root, 'c', 'endless.png'));
    const { classes, items, ignored } = await scanImageFolder(root);
    expect([classes, items.map(({ relativePath }) => relativePath)]).toEqual([
      ['a', 'c'],
      ['a/1.png', 'c/2.png'],
    ]);
    expect(ignored.map(({ reason }) => reason)).toEqual([
      'a link to a folder that was read already',
      'neither a file nor a folder',
    ]);
  });

  test('nothing to read is one clear sentence', async () => {
    await expect(scanImageFolder(join(root, 'none'))).rejects.toMatchObject({ code: 'FOLDER_MISSING' });
    await files('a/notes.txt');
    await expect(scanImageFolder(root)).rejects.toMatchObject({ code: 'FOLDER_EMPTY' });
    await expect(scanImageFolder(join(root, 'a/notes.txt'))).rejects.toThrow(/got a file\.$/);
  });
});

describe('openImageFolder', () => {
  test('a data set that comes split keeps its split and its labels', async () => {
    await files('train/a/1.png', 'train/b/2.png', 'held-out/b/3.png', 'held-out/c/4.png');
    const { classes, train, heldOut, ignored } = await openImageFolder(root);
    expect(classes).toEqual(['a', 'b']);
    expect(train.map(({ label }) => label)).toEqual([0, 1]);
    expect(heldOut.map(({ relativePath, label }) => [relativePath, label])).toEqual([['b/3.png', 1]]);
    expect(ignored[0]!.reason).toMatch(/class c is not among/);
  });

  test('a flat split is of one class, named after the whole', async () => {
    await files('train/1.png', 'train/2.png', 'val/3.png');
    const { classes, train, heldOut, ignored } = await openImageFolder(root);
    expect([classes, train.length, heldOut.map(({ label }) => label)]).toEqual([[basename(root)], 2, [0]]);
    expect(ignored).toEqual([]);
  });

  test('any other folder is split by hash', async () => {
    await files(...Array.from({ length: 40 }, (_, i) => `a/${i}.png`));
    const { train, heldOut } = await openImageFolder(root, { heldOutFraction: 0.25 });
    expect(train.length + heldOut.length).toBe(40);
    expect(heldOut.length).toBeGreaterThan(2);
  });
});

describe('splitHeldOut', () => {
  const list = (count: number, classes = 1) =>
    Array.from({ length: count }, (_, i) => ({ relativePath: `c${i % classes}/${i}.png`, label: i % classes }));

  test('about the fraction, the same each time, another one for another seed', () => {
    const { train, heldOut } = splitHeldOut(list(5000, 5), 0.08);
    expect(train.length + heldOut.length).toBe(5000);
    expect(Math.abs(heldOut.length - 400)).toBeLessThan(60);
    expect(splitHeldOut(list(5000, 5), 0.08).heldOut).toEqual(heldOut);
    expect(splitHeldOut(list(5000, 5), 0.08, 1).heldOut).not.toEqual(heldOut);
  });

  test('adding files moves nobody', () => {
    const before = new Set(splitHeldOut(list(1000), 0.1).heldOut.map(({ relativePath }) => relativePath));
    const after = new Set(splitHeldOut(list(1500), 0.1).heldOut.map(({ relativePath }) => relativePath));
    for (const path of before) expect(after).toContain(path);
  });

  test('tiny folders', () => {
    for (const count of [0, 1, 2, 3])
      expect(splitHeldOut(list(count), 0.08).train.length).toBeGreaterThanOrEqual(Math.min(count, 1));
    expect(splitHeldOut(list(1), 0.99).heldOut).toEqual([]);
    expect(splitHeldOut(list(4), 0.0001).heldOut.length).toBe(1);
    expect(splitHeldOut(list(4), 0).heldOut).toEqual([]);
    // every class keeps one
    expect(new Set(splitHeldOut(list(40, 20), 0.99).train.map(({ label }) => label)).size).toBe(20);
  });

  test('a fraction outside [0, 1) is refused', () => {
    for (const bad of [-0.1, 1, Number.NaN]) {
      expect(() => splitHeldOut(list(3), bad)).toThrow(expect.objectContaining({ code: 'FOLDER_BAD_SPLIT' }));
    }
  });
});
