import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arange, loadSafetensors, saveSafetensors, scope, type Tensor, tensor } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Piece, partName, StoredTensors, savePart, wholeFile } from './stored-tensors.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera parts '));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** A matrix of 0..11 in runs that need not be equal, a vector in one part, a counter in all. */
function writeParts(cuts: readonly number[], metadata?: (rank: number) => Record<string, string>): void {
  scope(() => {
    const matrix = arange(0, 12).to('float32');
    cuts.slice(0, -1).forEach((start, rank) => {
      const tensors: [string, Tensor][] = [
        ['matrix', matrix.narrow(0, start, cuts[rank + 1]! - start)],
        ['counter', tensor(7)],
      ];
      if (rank === 1) tensors.push(['vector', tensor([1, 2])]);
      const path = join(folder, partName('optimizer', rank, cuts.length - 1));
      const pieces = new Map<string, Piece>([['matrix', { shape: [3, 4], start }]]);
      if (metadata === undefined) savePart(path, tensors, pieces);
      else saveSafetensors(path, tensors, metadata(rank));
    });
  });
}

function open<T>(stem: string, body: (stored: StoredTensors) => T): T {
  const stored = new StoredTensors(folder, stem);
  try {
    return scope(() => body(stored));
  } finally {
    stored.close();
  }
}

test('parts come back whole, and any run of them from wherever it lies', () => {
  writeParts([0, 5, 6, 12]);
  expect(readdirSync(folder)).toEqual(['00001', '00002', '00003'].map((part) => `optimizer-${part}-of-00003.safetensors`)); // biome-ignore format: one row
  open('optimizer', (stored) => {
    expect(stored.names.sort()).toEqual(['counter', 'matrix', 'vector']);
    expect(stored.shape('matrix')).toEqual([3, 4]);
    expect(stored.read('matrix').toArray()).toEqual([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]); // biome-ignore format: one row
    expect(stored.readRun('matrix', 4, 3).toNumbers()).toEqual([4, 5, 6]);
    expect(stored.readRun('matrix', 12, 0).toNumbers()).toEqual([]);
    expect([stored.read('counter').item(), stored.read('vector').toNumbers()]).toEqual([7, [1, 2]]);
    expect([...stored.readAll((name) => name !== 'matrix').keys()].sort()).toEqual(['counter', 'vector']);
    expect(() => stored.read('nothing')).toThrow('there is no tensor "nothing"');
  });
});

test('a whole file is read alike, and made of parts when it is asked for', () => {
  writeParts([0, 5, 6, 12]);
  const path = wholeFile(folder, 'optimizer');
  expect(path).toBe(join(folder, 'optimizer.safetensors'));
  scope(() => {
    const { tensors, metadata } = loadSafetensors(path);
    expect(metadata).toEqual({});
    expect(tensors.get('matrix')!.toNumbers()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });
  for (const name of readdirSync(folder)) if (/-of-/.test(name)) rmSync(join(folder, name));
  expect(readdirSync(folder)).toEqual(['optimizer.safetensors']);
  open('optimizer', (stored) => expect(stored.readRun('matrix', 3, 2).toNumbers()).toEqual([3, 4]));
  // Nothing to make: the path alone, for the error of who opens it.
  expect(existsSync(wholeFile(folder, 'model'))).toBe(false);
});

test('names that only begin alike are others', () => {
  writeParts([0, 12]);
  scope(() => savePart(join(folder, partName('optimizer-0.9', 0, 1)), [['matrix', tensor([1])]]));
  open('optimizer', (stored) => expect(stored.shape('matrix')).toEqual([3, 4]));
  open('optimizer-0.9', (stored) => expect(stored.shape('matrix')).toEqual([1]));
});

test('holes, parts that disagree and lists that are none are refused', () => {
  const message = () => {
    try {
      return open('optimizer', () => 'nothing');
    } catch (error) {
      return `${(error as { code: string }).code}: ${(error as Error).message}`;
    }
  };
  const listed = (pieces: unknown) => ({ pieces: typeof pieces === 'string' ? pieces : JSON.stringify(pieces) });
  writeParts([0, 5, 6, 12]);
  rmSync(join(folder, partName('optimizer', 1, 3)));
  expect(message()).toMatch(/RUN_FOLDER: .*of the 12 numbers of "matrix", number 5 is in no part/);
  writeParts([0, 6, 12], (rank) => listed({ matrix: { shape: rank === 0 ? [3, 4] : [4, 3], start: 6 * rank } }));
  rmSync(join(folder, partName('optimizer', 0, 3)));
  rmSync(join(folder, partName('optimizer', 2, 3)));
  expect(message()).toContain('"matrix" is float32 [4,3], float32 [3,4] in another part');
  for (const pieces of ['{', { matrix: { shape: [3, 4] } }, { matrix: { shape: [3, 4], start: -1 } }, 7]) {
    writeParts([0, 6, 12], () => listed(pieces));
    expect(message()).toContain('its list of pieces cannot be read');
  }
  // Longer than what they are said to be pieces of.
  writeParts([0, 6, 12], (rank) => listed({ matrix: { shape: [5], start: 6 * rank } }));
  expect(message()).toContain('of the 5 numbers of "matrix", number 12 is in no part');
});
