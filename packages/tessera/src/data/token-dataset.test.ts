import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scope, tensor } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { smallestIntegerType, TokenDataset, TokenDatasetWriter } from './token-dataset.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera tokens '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const OPTIONS = { gridSize: 2, codebookSize: 300, classes: ['a', 'b', 'c'] };

/** Two shards: rows 0..2 hold their number, rows 3..4 too. */
function write(path: string): void {
  const writer = new TokenDatasetWriter(path, OPTIONS);
  const row = (n: number): number[] => [n, n, n, 299];
  writer.addShard(tensor([row(0), row(1), row(2)], 'int64'), tensor([0, 1, 2], 'int64'));
  writer.addShard(tensor([row(3), row(4)], 'int64'), tensor([2, 0], 'int64'));
  writer.finish();
}

test('rows come back in the order asked for, across shards', () => {
  const path = join(folder, 'tokens');
  write(path);
  const dataset = TokenDataset.open(path);
  scope(() => {
    const { tokens, labels } = dataset.rows([4, 0, 3, 0]);
    expect(tokens.dtype).toBe('int64');
    expect(tokens.select(1, 0).toNumbers()).toEqual([4, 0, 3, 0]);
    expect(tokens.select(1, 3).toNumbers()).toEqual([299, 299, 299, 299]);
    expect(labels.toNumbers()).toEqual([0, 0, 2, 0]);
  });
  dataset.verify();
  dataset.dispose();
});

test('the integer type is the smallest that fits', () => {
  expect([2, 256, 257, 32768, 32769].map(smallestIntegerType)).toEqual(['uint8', 'uint8', 'int16', 'int16', 'int32']);
});

test('tokens and labels out of range are refused before anything is written', () => {
  const writer = new TokenDatasetWriter(join(folder, 'bad'), OPTIONS);
  expect(() => writer.addShard(tensor([[0, 1, 2, 300]], 'int64'), tensor([0], 'int64'))).toThrow(
    /0\.\.299, got 0\.\.300/,
  );
  expect(() => writer.addShard(tensor([[0, 1, 2, 3]], 'int64'), tensor([-1], 'int64'))).toThrow(/labels/);
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
  expect(() => dataset.verify()).toThrow(expect.objectContaining({ code: 'TOKENS_BROKEN' }));
  expect(() => dataset.rows([5])).toThrow(expect.objectContaining({ code: 'TOKENS_RANGE' }));
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
