/**
 * Every tensor file of the reference set, read and compared with the names, shapes and dtypes of its manifest.
 * The set is found through GOLDEN_DIR or beside the repository; without it this file says so and passes,
 * unless REQUIRE_SHARED=1.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ByteReader } from './byte-reader.ts';
import { byteLengthOf } from './dtype.ts';
import { withFile } from './node.ts';
import { readNpy } from './npy/npy.ts';
import { readNpz } from './npy/npz.ts';
import { readSafetensorsHeader, readTensorBytes } from './safetensors/read.ts';
import { readTorchCheckpoint } from './torch/checkpoint.ts';
import { flattenStateDict } from './torch/state-dict.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const golden = process.env.GOLDEN_DIR ?? join(root, '../shared/golden');

interface Described {
  dtype: string;
  shape: readonly number[];
}

type Manifest = { tensors: Record<string, Record<string, Described>>; files: Record<string, { sha256: string }> };

/** Names as the manifest writes them: entries of pickles joined by a slash, the array of a npy file `array`. */
const READERS: Record<string, (reader: ByteReader) => Map<string, Described & { byteLength: number }>> = {
  safetensors(reader) {
    const { tensors } = readSafetensorsHeader(reader);
    return mapValues(tensors, (entry) => ({ ...entry, byteLength: readTensorBytes(reader, entry).byteLength }));
  },
  npy: (reader) => new Map([['array', withLength(readNpy(reader))]]),
  npz: (reader) => new Map([...readNpz(reader)].map(([name, array]) => [name, withLength(array)])),
  pt: readCheckpoint,
  pth: readCheckpoint,
  ckpt: readCheckpoint,
};

function readCheckpoint(reader: ByteReader): Map<string, Described & { byteLength: number }> {
  const tensors = flattenStateDict(readTorchCheckpoint(reader, { verify: true }));
  return mapValues(tensors, (tensor) => {
    const { dtype, shape, absoluteOffset } = tensor;
    const bytes = tensor.contiguousBytes();
    if (absoluteOffset !== null) expect(Buffer.compare(reader.read(absoluteOffset, bytes.byteLength), bytes)).toBe(0);
    return { dtype, shape: [...shape], byteLength: bytes.byteLength };
  });
}

describe('reference files', () => {
  if (!existsSync(golden)) {
    test('are at hand', () => {
      console.log(`reference files: none at ${golden}, not checked`);
      expect(process.env.REQUIRE_SHARED).not.toBe('1');
    });
    return;
  }
  const files = readdirSync(golden, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && Object.hasOwn(READERS, extension(entry.name)))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  test('there are some', () => expect(files.length).toBeGreaterThan(0));
  test.each(files.map((file) => relative(golden, file)))('%s', (name) => {
    const path = join(golden, name);
    const tensors = withFile(path, READERS[extension(name)]!);
    for (const [tensor, { dtype, shape, byteLength }] of tensors) {
      expect(byteLengthOf(dtype as 'float32', shape), tensor).toBe(byteLength);
    }
    const listed = manifestOf(path);
    if (!listed) return;
    expect(createHash('sha256').update(readFileSync(path)).digest('hex')).toBe(listed.sha256);
    const got = [...tensors].map(([tensor, { dtype, shape }]) => [tensor, dtype, [...shape]]);
    const expected = Object.entries(listed.tensors).map(([tensor, { dtype, shape }]) => [tensor, dtype, shape]);
    // Where a key itself holds dots, the manifest's slashes say more than joined names do.
    const comparable = (rows: unknown[][]) => rows.map(([key, ...rest]) => [String(key).replaceAll('/', '.'), ...rest]);
    expect(comparable(got).sort(byName)).toEqual(comparable(expected).sort(byName));
  });
});

/** What the nearest manifest above the file says about it. */
function manifestOf(path: string): { tensors: Record<string, Described>; sha256: string } | undefined {
  for (let folder = dirname(path); folder.startsWith(golden); folder = dirname(folder)) {
    const manifest = join(folder, 'manifest.json');
    if (!existsSync(manifest)) continue;
    const { tensors, files } = JSON.parse(readFileSync(manifest, 'utf8')) as Manifest;
    const key = relative(folder, path).replaceAll('\\', '/');
    return tensors[key] && files[key] && { tensors: tensors[key], sha256: files[key].sha256 };
  }
  return undefined;
}

function withLength<T extends { data: ArrayBufferView; shape: readonly number[]; dtype: string }>(array: T) {
  return { dtype: array.dtype, shape: [...array.shape], byteLength: array.data.byteLength };
}

function mapValues<A, B>(map: Map<string, A>, fn: (value: A) => B): Map<string, B> {
  return new Map([...map].map(([key, value]) => [key, fn(value)]));
}

function byName(a: unknown[], b: unknown[]): number {
  return String(a[0]) < String(b[0]) ? -1 : 1;
}

function extension(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
}
