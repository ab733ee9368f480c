import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Draws } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TokenDatasetWriter } from '../token-dataset.ts';
import { LlamaGenWriter } from './llamagen-tree.ts';
import { MixedTokens } from './mixed-tokens.ts';
import { openTokens } from './open-tokens.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera mixed '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A data set whose tokens say image and source. */
function write(name: string, source: number, numImages: number, fields: object = {}): string {
  const path = join(folder, name);
  const options = { gridSize: 1, codebookSize: 1000, classes: ['a', 'b'], ...fields };
  const writer = new TokenDatasetWriter(path, options);
  for (let image = 0; image < numImages; image++) writer.add(image % 2, [source * 100 + image]);
  writer.finish();
  return path;
}

const firsts = (mixed: { rows: MixedTokens['rows'] }, indices: number[], draws?: Draws): number[] =>
  scope(() => mixed.rows(indices, draws).tokens.toNumbers());

test('paired: a visit draws the source, with the weights given', () => {
  const paths = [write('a', 0, 50), write('b', 1, 50)];
  const mixed = openTokens(paths, { weights: [3, 1] }) as MixedTokens;
  expect([mixed.kind, mixed.numRows]).toEqual(['paired', 50]);
  const visits = Array.from({ length: 4000 }, (_, i) => i % 50);
  const read = firsts(mixed, visits, new Draws(5, 0, 0, 4));
  expect(read.map((token) => token % 100)).toEqual(visits);
  // Of 4000 draws with probability 1/4: 1000 ± 4 · 27.
  const second = read.filter((token) => token >= 100).length;
  expect(Math.abs(second - 1000)).toBeLessThan(110);
  expect(firsts(mixed, visits, new Draws(5, 0, 0, 4))).toEqual(read);
  expect(firsts(mixed, [7])).toEqual([7]);
  mixed.dispose();
});

test('one by one: every image of every source once', () => {
  const mixed = openTokens([write('a', 0, 3), write('b', 1, 5)]) as MixedTokens;
  expect([mixed.kind, mixed.numRows, mixed.itemAt]).toEqual(['one-by-one', 8, undefined]);
  expect(firsts(mixed, [0, 1, 2, 3, 4, 5, 6, 7])).toEqual([0, 1, 2, 100, 101, 102, 103, 104]);
  mixed.dispose();
});

test('weighted: exact shares in every block, each source once in its own epochs', () => {
  const mixed = openTokens([write('a', 0, 4), write('b', 1, 6)], { weights: [0.75, 0.25] }) as MixedTokens;
  expect(mixed.kind).toBe('weighted');
  const items = Array.from({ length: 48 }, (_, place) => mixed.itemAt!(9, place));
  for (let block = 0; block < 12; block++) {
    expect(items.slice(block * 4, block * 4 + 4).filter((item) => item < 4).length, `block ${block}`).toBe(3);
  }
  // 36 visits of 4 images, 12 of 6: whole epochs, each image once in each.
  const visits = (item: number): number => items.filter((other) => other === item).length;
  expect(Array.from({ length: 10 }, (_, item) => visits(item))).toEqual([9, 9, 9, 9, 2, 2, 2, 2, 2, 2]);
  expect(Array.from({ length: 48 }, (_, place) => mixed.itemAt!(9, place))).toEqual(items);
  mixed.dispose();
});

test('sources that do not belong together are refused', () => {
  const code = (paths: string[], weights?: number[]): unknown => {
    try {
      openTokens(paths, { weights });
      return undefined;
    } catch (error) {
      return (error as { code: unknown }).code;
    }
  };
  const a = write('a', 0, 4);
  expect(code([a, write('b', 0, 4, { codebookSize: 999 })])).toBe('TOKENS_UNLIKE');
  expect(code([a, write('c', 0, 4, { classes: ['a', 'c'] })])).toBe('TOKENS_UNLIKE');
  expect(code([a, a], [1])).toBe('TOKENS_WEIGHTS');
  expect(code([a, a], [1, 0])).toBe('TOKENS_WEIGHTS');
  expect(code([a, a], [1, Math.PI])).toBe('TOKENS_WEIGHTS');
});

test("the two extractions of NPP are found by the first one's name", () => {
  for (const [name, source] of [
    ['code_ten_crop', 0],
    ['code_ten_crop_105', 1],
  ] as const) {
    const what = { numImages: 4, picturesPerImage: 2, gridSize: 1, imageSize: 16, codebookSize: 500, classes: ['a'] };
    const writer = new LlamaGenWriter(join(folder, name), what);
    for (let image = 0; image < 4; image++) writer.add(0, [image * 2 + source * 100, image * 2 + 1 + source * 100]);
    writer.finish();
  }
  const pair = openTokens(join(folder, 'code_ten_crop/'));
  expect(pair).toBeInstanceOf(MixedTokens);
  expect((pair as MixedTokens).kind).toBe('paired');
  // Twenty variants in the original; four here: two sources of two pictures.
  const seen = new Set(firsts(pair, new Array(64).fill(3), new Draws(1, 0, 0, 4)));
  expect([...seen].sort((x, y) => x - y)).toEqual([6, 7, 106, 107]);
  expect(openTokens(join(folder, 'code_ten_crop_105'))).not.toBeInstanceOf(MixedTokens);
});
