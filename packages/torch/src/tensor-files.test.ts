import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { arange, type DType, loadSafetensors, saveSafetensors, scope, tensor } from './index.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera tensor files '));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('what is saved is loaded, for every dtype, and outlives the file', () => {
  const path = join(folder, 'all.safetensors');
  const dtypes: DType[] = ['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8'];
  scope(() => {
    saveSafetensors(
      path,
      dtypes.map((dtype) => [dtype, arange(0, 6, 1, { dtype }).reshape([2, 3])]),
      { note: 'x' },
    );
    const { tensors, metadata } = loadSafetensors(path);
    expect(metadata).toEqual({ note: 'x' });
    // A mapping keeps its pages after the name is gone.
    rmSync(path);
    for (const dtype of dtypes) {
      const loaded = tensors.get(dtype)!;
      expect([loaded.dtype, loaded.shape]).toEqual([dtype, [2, 3]]);
      expect(loaded.toNumbers()).toEqual([0, 1, 2, 3, 4, 5]);
    }
  });
});

test('writing to a mapped tensor changes memory, not the file', () => {
  const path = join(folder, 'private.safetensors');
  scope(() => {
    saveSafetensors(path, [['x', tensor([1, 2])]]);
    loadSafetensors(path).tensors.get('x')!.fill_(9);
    expect(loadSafetensors(path).tensors.get('x')!.toNumbers()).toEqual([1, 2]);
  });
});

test('a file that is no safetensors is refused', () => {
  const path = join(folder, 'text.safetensors');
  writeFileSync(path, 'not tensors at all, but longer than eight bytes');
  expect(() => loadSafetensors(path)).toThrow(/safetensors/);
});
