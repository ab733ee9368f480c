import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type ByteReader, bytesReader, concatBytes, rangeReader } from './byte-reader.ts';
import { codeOf } from './hostile.test-support.ts';
import { openFile, withFile } from './node.ts';

const folder = mkdtempSync(join(tmpdir(), 'tessera-reader-'));
const path = join(folder, 'ten bytes.bin');
const ten = Uint8Array.from({ length: 10 }, (_, i) => i * 11);
writeFileSync(path, ten);
afterAll(() => rmSync(folder, { recursive: true }));

const file = openFile(path);
afterAll(() => file.close());

const readers: [string, ByteReader][] = [
  ['bytes', bytesReader(ten, 'ten')],
  ['file', file],
  ['range', rangeReader(bytesReader(concatBytes([new Uint8Array(3), ten, new Uint8Array(3)])), 3, 10)],
];

describe.each(readers)('%s', (_, reader) => {
  test('reads any range inside', () => {
    expect(reader.byteLength).toBe(10);
    for (let start = 0; start <= 10; start++) {
      for (let length = 0; start + length <= 10; length++) {
        expect([...reader.read(start, length)]).toEqual([...ten.slice(start, start + length)]);
      }
    }
  });

  test.each([
    [0, 11],
    [10, 1],
    [11, 0],
    [-1, 2],
    [2, -1],
    [0.5, 1],
    [0, Number.NaN],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])('refuses offset %s, length %s', (offset, length) => {
    expect(codeOf(() => reader.read(offset, length))).toBe('read.out-of-range');
  });
});

test('a range cannot reach beyond its source', () => {
  expect(codeOf(() => rangeReader(bytesReader(ten), 5, 6))).toBe('read.out-of-range');
});

test('files that cannot be opened are named', () => {
  expect(codeOf(() => openFile(join(folder, 'absent')))).toBe('read.cannot-open');
  expect(codeOf(() => openFile(folder))).toBe('read.not-a-file');
});

test('withFile closes on success and on failure', () => {
  let kept: ByteReader | undefined;
  expect(withFile(path, (reader) => reader.byteLength)).toBe(10);
  expect(() =>
    withFile(path, (reader) => {
      kept = reader;
      throw new Error('own');
    }),
  ).toThrow('own');
  expect(codeOf(() => kept!.read(0, 1))).toBe('read.closed');
  expect(() => withFile(path, async () => 1)).toThrow(TypeError);
});
