import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Draws } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TokenDataset, TokenDatasetWriter } from './token-dataset.ts';
import { smallestIntegerType } from './tokens/integers.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera tokens '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const OPTIONS = { gridSize: 2, codebookSize: 300, classes: ['a', 'b', 'c'] };

/** Two shards, of three rows and of two: each row holds its number. */
function write(path: string): void {
  const writer = new TokenDatasetWriter(path, { ...OPTIONS, shardBytes: 3 * 8 });
  for (const [n, label] of [0, 1, 2, 2, 0].entries()) writer.add(label, [n, n, n, 299]);
  writer.finish();
}

test('rows come back in the order asked for, across shards', () => {
  const path = join(folder, 'tokens');
  write(path);
  const dataset = TokenDataset.open(path);
  scope(() => {
    const { tokens, labels } = dataset.rows([4, 0, 3, 0], undefined);
    expect(tokens.dtype).toBe('int64');
    expect(tokens.select(1, 0).toNumbers()).toEqual([4, 0, 3, 0]);
    expect(tokens.select(1, 3).toNumbers()).toEqual([299, 299, 299, 299]);
    expect(labels.toNumbers()).toEqual([0, 0, 2, 0]);
  });
  expect([...dataset.verify()]).toEqual([1, 2, 3, 4, 5]);
  dataset.dispose();
});

test('of several pictures of an image a visit draws one, and without draws takes the first', () => {
  const path = join(folder, 'tokens');
  const writer = new TokenDatasetWriter(path, { ...OPTIONS, picturesPerImage: 3, shardBytes: 2 * 24 });
  for (let image = 0; image < 5; image++) {
    writer.add(
      image % 3,
      [0, 1, 2].flatMap((picture) => [10 * image + picture, 0, 0, 7]),
    );
  }
  writer.finish();
  const dataset = TokenDataset.open(path);
  expect([dataset.numRows, dataset.description.numRows, dataset.description.shards.length]).toEqual([5, 15, 3]);
  const firsts = (draws: Draws | undefined): number[] =>
    scope(() => dataset.rows([4, 1, 4, 2], draws).tokens.select(1, 0).toNumbers());
  expect(firsts(undefined)).toEqual([40, 10, 40, 20]);
  const draws = new Draws(3, 0, 0, 4);
  const expected = [4, 1, 4, 2].map((image) => 10 * image + draws.integer(3));
  expect(firsts(new Draws(3, 0, 0, 4))).toEqual(expected);
  dataset.dispose();
});

test('the integer type is the smallest that fits', () => {
  expect([2, 256, 257, 32768, 32769].map(smallestIntegerType)).toEqual(['uint8', 'uint8', 'int16', 'int16', 'int32']);
});

test('tokens and labels out of range are refused before anything is written', () => {
  const writer = new TokenDatasetWriter(join(folder, 'bad'), OPTIONS);
  expect(() => writer.add(0, [0, 1, 2, 300])).toThrow(/tokens: expected values in 0\.\.299, got 300/);
  expect(() => writer.add(-1, [0, 1, 2, 3])).toThrow(/labels/);
  expect(() => writer.add(0, [0, 1, 2])).toThrow(/got 3/);
  expect(() => TokenDataset.open(join(folder, 'bad'))).toThrow(expect.objectContaining({ code: 'TOKENS_MISSING' }));
});

test('damage is found: a changed byte by verify, a changed length at once', () => {
  const path = join(folder, 'tokens');
  write(path);
  const shard = join(path, 'tokens-00001.safetensors');
  const bytes = readFileSync(shard);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(shard, bytes);
  const dataset = TokenDataset.open(path);
  expect(() => [...dataset.verify()]).toThrow(expect.objectContaining({ code: 'TOKENS_BROKEN' }));
  expect(() => dataset.rows([5], undefined)).toThrow(expect.objectContaining({ code: 'TOKENS_RANGE' }));
  dataset.dispose();
  appendFileSync(shard, 'x');
  expect(() => TokenDataset.open(path)).toThrow(expect.objectContaining({ code: 'TOKENS_BROKEN' }));
});

test('a description that leads out of the folder is refused', () => {
  const path = join(folder, 'tokens');
  write(path);
  const file = join(path, 'dataset.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('tokens-00000', '../tokens-00000'));
  expect(() => TokenDataset.open(path)).toThrow(/plain file name/);
});
