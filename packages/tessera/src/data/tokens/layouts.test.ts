// The layouts of the reference systems, written, read back, and read where other programs wrote them.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesReader, encodeNpy, readNpy } from '@tessera/formats';
import { Draws } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TokenDatasetWriter } from '../token-dataset.ts';
import { LlamaGenTokens, LlamaGenWriter } from './llamagen-tree.ts';
import { NatNpyTokens, NatNpyWriter, natRow } from './nat-npy.ts';
import { openStoredTokens, requireTokens } from './open-tokens.ts';
import type { TokensToWrite } from './token-rows.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera layouts '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const WHAT: TokensToWrite = {
  numImages: 0,
  picturesPerImage: 2,
  gridSize: 2,
  imageSize: 32,
  codebookSize: 2000,
  classes: ['a', 'b', 'c'],
};
/** Tokens that say whose they are. */
const tokensOf = (image: number, pictures: number): number[] =>
  Array.from({ length: pictures * 4 }, (_, i) => (image * 10 + Math.floor(i / 4)) % 2000);
const codeOf = (run: () => unknown): unknown => {
  try {
    run();
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};

function saveNpy(path: string, shape: number[], values: readonly number[]): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, encodeNpy({ dtype: 'int64', shape, data: BigInt64Array.from(values, BigInt) }));
}

test('nat-npy: batches of 128 images, each followed by its mirror images, and a short last one', () => {
  const path = join(folder, 'train.npy');
  const numImages = 130;
  const writer = new NatNpyWriter(path, { ...WHAT, numImages });
  for (let image = 0; image < numImages; image++) writer.add(image % 3, tokensOf(image, 2));
  expect(() => readFileSync(path)).toThrow(/ENOENT/);
  writer.finish();
  const { dtype, shape, data } = readNpy(bytesReader(readFileSync(path)));
  expect([dtype, shape]).toEqual(['int64', [260, 5]]);
  const row = (n: number): number[] => [...(data as BigInt64Array).slice(n * 5, n * 5 + 5)].map(Number);
  expect(row(0)).toEqual([0, 0, 0, 0, 0]);
  expect(row(127)).toEqual([1, 1270, 1270, 1270, 1270]);
  expect(row(128)).toEqual([0, 1, 1, 1, 1]);
  expect(row(256)).toEqual([2, 1280, 1280, 1280, 1280]);
  expect(row(258)).toEqual([2, 1281, 1281, 1281, 1281]);
  expect([natRow(0, 1, 2, 130), natRow(129, 0, 2, 130), natRow(129, 1, 2, 130)]).toEqual([128, 257, 259]);
  const tokens = openStoredTokens(path);
  expect([tokens.numRows, tokens.codebookSize, tokens.classes]).toEqual([260, 2000, ['a', 'b', 'c']]);
  scope(() => {
    const { tokens: read, labels } = tokens.rows([258, 0], undefined);
    expect([read.toNumbers(), labels.toNumbers()]).toEqual([
      [1281, 1281, 1281, 1281, 0, 0, 0, 0],
      [2, 0],
    ]);
  });
  tokens.dispose();
});

test('nat-npy: what other programs wrote, with their codebook and classes assumed', () => {
  const path = join(folder, 'train.npy');
  saveNpy(path, [2, 5], [999, 0, 1, 2, 1023, 0, 5, 5, 5, 5]);
  const tokens = NatNpyTokens.open(path);
  expect([tokens.codebookSize, tokens.classes.length, tokens.seqLen]).toEqual([1024, 1000, 4]);
  expect(codeOf(() => NatNpyTokens.open(path, { numClasses: 10 }))).toBe('TOKENS_RANGE');
  expect(codeOf(() => NatNpyTokens.open(path, { codebookSize: 1000 }))).toBe('TOKENS_RANGE');
  saveNpy(path, [1, 5], [0, 2 ** 40, 1, 1, 1]);
  expect(codeOf(() => NatNpyTokens.open(path))).toBe('TOKENS_RANGE');
  saveNpy(path, [1, 4], [0, 1, 1, 1]);
  expect(codeOf(() => NatNpyTokens.open(path))).toBe('TOKENS_BROKEN');
  saveNpy(path, [5], [0, 1, 1, 1, 1]);
  expect(codeOf(() => NatNpyTokens.open(path))).toBe('TOKENS_BROKEN');
  saveNpy(path, [2, 5], new Array(10).fill(0));
  truncateSync(path, 200);
  expect(codeOf(() => NatNpyTokens.open(path))).toBe('npy.truncated');
});

test('llamagen: a file an image, all its pictures in it', () => {
  const writer = new LlamaGenWriter(folder, { ...WHAT, numImages: 3, picturesPerImage: 10 });
  for (let image = 0; image < 3; image++) writer.add(2 - image, tokensOf(image, 10));
  writer.finish();
  const codes = readNpy(bytesReader(readFileSync(join(folder, 'imagenet32_codes', '1.npy'))));
  expect([codes.dtype, codes.shape]).toEqual(['int64', [1, 10, 4]]);
  expect([...(codes.data as BigInt64Array)].map(Number)).toEqual(tokensOf(1, 10));
  const label = readNpy(bytesReader(readFileSync(join(folder, 'imagenet32_labels', '1.npy'))));
  expect([label.dtype, label.shape, label.data[0]]).toEqual(['int64', [1], 1n]);
  const tokens = LlamaGenTokens.open(folder);
  expect([tokens.numRows, tokens.picturesPerImage, tokens.codebookSize]).toEqual([3, 10, 2000]);
  scope(() => {
    const draws = new Draws(1, 0, 0, 0);
    const expected = [2, 0].map((image) => image * 10 + draws.integer(10));
    const read = tokens.rows([2, 0], new Draws(1, 0, 0, 0));
    expect(read.tokens.select(1, 0).toNumbers()).toEqual(expected);
    expect(read.labels.toNumbers()).toEqual([0, 2]);
  });
});

/** A tree as LlamaGen's own program leaves it. */
function theirTree(size: number, images: readonly number[]): void {
  for (const [i, image] of images.entries()) {
    saveNpy(join(folder, `imagenet${size}_codes`, `${i}.npy`), [1, 2, 4], tokensOf(image, 2));
    saveNpy(join(folder, `imagenet${size}_labels`, `${i}.npy`), [1], [image]);
  }
}

test('llamagen: files that repeat the first images at the end are left out', () => {
  theirTree(32, [0, 1, 2, 3, 4, 5, 6, 0, 1]);
  const tokens = LlamaGenTokens.open(folder);
  expect([tokens.numRows, tokens.repeatedTail, tokens.codebookSize]).toEqual([7, 2, 16384]);
  expect([...tokens.images()].map(({ label }) => label)).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

test('llamagen: images that look alike at the end are no tail: of ours, and under other labels', () => {
  theirTree(32, [0, 1, 2, 3]);
  saveNpy(join(folder, 'imagenet32_codes', '3.npy'), [1, 2, 4], tokensOf(0, 2));
  expect(LlamaGenTokens.open(folder).numRows).toBe(4);
  rmSync(join(folder, 'imagenet32_codes'), { recursive: true });
  const writer = new LlamaGenWriter(folder, { ...WHAT, numImages: 4 });
  for (const image of [0, 1, 2, 0]) writer.add(image, tokensOf(image, 2));
  writer.finish();
  expect(LlamaGenTokens.open(folder).numRows).toBe(4);
});

test('llamagen: every file is read in the layout that its header tells', () => {
  theirTree(32, [0, 1, 2]);
  const path = join(folder, 'imagenet32_codes', '1.npy');
  const header = (text: string): Uint8Array => {
    const bytes = readFileSync(path);
    const old = bytes.toString('latin1');
    return Buffer.from(
      old
        .replace(/'<i8'/, text.includes('>') ? "'>i8'" : "'<i8'")
        .replace(/False/, text.includes('F') ? 'True ' : 'False'),
      'latin1',
    );
  };
  const tokens = LlamaGenTokens.open(folder);
  const right = readFileSync(path);
  for (const [change, got] of [
    ['>', 'big-endian int64'],
    ['F', 'in Fortran order'],
  ] as const) {
    writeFileSync(path, header(change));
    expect(() => tokens.rows([1], undefined)).toThrow(got);
    writeFileSync(path, right);
  }
});

test('llamagen: holes, odd files and missing sizes have their errors', () => {
  theirTree(32, [0, 1, 2, 3, 4, 5, 6, 7]);
  const tokens = LlamaGenTokens.open(folder);
  rmSync(join(folder, 'imagenet32_labels', '5.npy'));
  expect(codeOf(() => tokens.rows([5], undefined))).toBe('TOKENS_BROKEN');
  saveNpy(join(folder, 'imagenet32_codes', '6.npy'), [1, 1, 4], [0, 0, 0, 0]);
  expect(codeOf(() => tokens.rows([6], undefined))).toBe('TOKENS_BROKEN');
  expect(codeOf(() => tokens.rows([8], undefined))).toBe('TOKENS_RANGE');
  expect(() => LlamaGenTokens.open(folder, { imageSize: 256 })).toThrow(/imagenet32_codes.*--size 256/);
  theirTree(48, [0]);
  expect(() => LlamaGenTokens.open(folder)).toThrow(/imagenet32_codes, imagenet48_codes: say which/);
});

test('tokens that a model cannot take are refused in one line', () => {
  theirTree(32, [0, 1, 2]);
  const tokens = LlamaGenTokens.open(folder);
  const refused = (needed: object): unknown => codeOf(() => requireTokens(tokens, needed, folder, 'the model'));
  expect(refused({ gridSize: 2, codebookSize: 16384, numClasses: 1000 })).toBeUndefined();
  expect(() => requireTokens(tokens, { gridSize: 4, downsampleFactor: 16 }, 'tokens', 'the model')).toThrow(
    'tokens has 2×2 tokens an image (32 px), the model needs 4×4 (64 px): tokenize the images with the --size that is trained.',
  );
  expect(refused({ codebookSize: 1024 })).toBe('TOKENS_CODEBOOK');
  expect(refused({ numClasses: 10 })).toBe('TOKENS_CLASSES');
  expect(codeOf(() => openStoredTokens(join(folder, 'nowhere')))).toBe('TOKENS_MISSING');
  mkdirSync(join(folder, 'empty'));
  expect(codeOf(() => openStoredTokens(join(folder, 'empty')))).toBe('TOKENS_MISSING');
});

test.each([
  ['npy', (path: string) => new NatNpyWriter(path, WHAT)],
  ['tree', (path: string) => new LlamaGenWriter(path, WHAT)],
  [
    'dataset',
    (path: string) => new TokenDatasetWriter(path, { gridSize: 2, codebookSize: 2000, classes: ['a', 'b', 'c'] }),
  ],
] as const)('%s: what was begun and not finished goes, and what was finished stays', (name, begin) => {
  const path = join(folder, 'begun', name);
  mkdirSync(join(folder, 'begun'), { recursive: true });
  const writer = begin(path);
  writer.add(0, tokensOf(0, name === 'dataset' ? 1 : WHAT.picturesPerImage));
  writer.dispose();
  writer.dispose();
  const left = readdirSync(join(folder, 'begun'), { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile() || /writing/.test(entry.name))).toEqual([]);
});
