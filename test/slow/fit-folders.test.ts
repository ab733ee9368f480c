// Folders as users have them: `tessera fit` makes a model of each, or refuses it in one line and leaves no stack.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Draws } from '@tessera/schedule';
import { afterAll, beforeAll, expect, test } from 'vitest';

const TESSERA = join(import.meta.dirname, '../../packages/tessera');
const sharp = createRequire(join(TESSERA, 'package.json'))('sharp') as typeof import('sharp')['default'];
const draws = new Draws(1, 0, 0, 0);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera fit folders '));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function noise(width: number, height: number, channels: 1 | 3 | 4): import('sharp').Sharp {
  const data = Buffer.from(Array.from({ length: width * height * channels }, () => draws.integer(256)));
  return sharp(data, { raw: { width, height, channels } });
}

async function save(path: string, picture: import('sharp').Sharp): Promise<void> {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  await picture.toFile(join(folder, path));
}

function runFit(images: string, ...more: string[]): { status: number | null; stderr: string; out: string } {
  const out = join(folder, `run of ${images}`);
  const words = ['fit', join(folder, images), '--out', out, '--minutes', '0.1', ...more];
  const { status, stderr } = spawnSync(process.execPath, [join(TESSERA, 'bin/tessera.js'), ...words], {
    encoding: 'utf8',
  });
  return { status, stderr, out };
}

function expectModel({ status, stderr, out }: ReturnType<typeof runFit>, classes: readonly string[]): void {
  expect(status, stderr).toBe(0);
  expect(JSON.parse(readFileSync(join(out, 'model/classes.json'), 'utf8'))).toEqual(classes);
  for (const file of ['report.html', 'samples/grid.png', 'plan.json']) expect(existsSync(join(out, file))).toBe(true);
}

function expectRefusal({ status, stderr }: ReturnType<typeof runFit>, saying: RegExp): void {
  expect(status).toBe(1);
  const [line, ...others] = stderr
    .trim()
    .split('\n')
    .filter((text) => text.startsWith('tessera:'));
  expect(others).toEqual([]);
  expect(line).toMatch(saying);
  expect(stderr).not.toMatch(/\n\s+at /);
}

test('three loose images of different shapes', { timeout: 300_000 }, async () => {
  for (const [i, [width, height]] of [
    [70, 50],
    [33, 90],
    [32, 32],
  ].entries()) {
    await save(`three/${i}.png`, noise(width!, height!, 3).png());
  }
  expectModel(runFit('three'), ['three']);
});

test('one class whose names have spaces and Unicode', { timeout: 300_000 }, async () => {
  for (let i = 0; i < 6; i++) await save(`one/flo wers ü 花/b ${i} é.jpg`, noise(40, 40, 3).jpeg());
  expectModel(runFit('one'), ['flo wers ü 花']);
});

test('grey, palette, alpha, CMYK, 16 bits, animated, and files that are no images', { timeout: 300_000 }, async () => {
  await save('mixed/a/grey.png', noise(40, 40, 1).toColourspace('b-w').png());
  await save('mixed/a/palette.png', noise(40, 40, 3).png({ palette: true }));
  await save('mixed/a/alpha.png', noise(40, 40, 4).png());
  await save('mixed/a/cmyk.jpg', noise(40, 40, 3).toColourspace('cmyk').jpeg());
  await save('mixed/a/sixteen.png', noise(40, 40, 3).toColourspace('rgb16').png());
  const frames = await Promise.all([1, 2].map(() => noise(40, 40, 3).png().toBuffer()));
  await save('mixed/b/animated.gif', sharp(frames, { join: { animated: true } }).gif());
  await save('mixed/b/animated.webp', sharp(frames, { join: { animated: true } }).webp());
  writeFileSync(join(folder, 'mixed/b/empty.jpg'), '');
  writeFileSync(join(folder, 'mixed/b/text.jpg'), 'hello');
  writeFileSync(join(folder, 'mixed/b/notes.txt'), 'not an image');
  const run = runFit('mixed');
  expectModel(run, ['a', 'b']);
  expect(run.stderr).toMatch(/empty\.jpg/);
  expect(run.stderr).toMatch(/text\.jpg/);
});

test('nothing that can be used is refused in one line', { timeout: 120_000 }, () => {
  mkdirSync(join(folder, 'broken/x'), { recursive: true });
  writeFileSync(join(folder, 'broken/x/a.jpg'), '');
  expectRefusal(runFit('broken'), /can be read/);
  mkdirSync(join(folder, 'empty'));
  expectRefusal(runFit('empty'), /got none/);
  expectRefusal(runFit('not there'), /got nothing there/);
  expectRefusal(runFit('empty', '--sise', '32'), /--size/);
});
