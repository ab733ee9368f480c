/**
 * npz: a zip archive of npy files, each entry `name.npy`. Arrays are read when asked for; `header` reads only
 * as much of an entry as its npy header needs.
 */
import { type ByteReader, bytesReader, concatBytes } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';
import { openZip, type ZipOptions } from '../zip/archive.ts';
import type { ZipEntry } from '../zip/directory.ts';
import { zipChunks } from '../zip/write.ts';
import { type NpyHeader, readNpyHeader } from './header.ts';
import { encodeNpy, type NpyArray, readNpy } from './npy.ts';

/** More than the longest npy header that is read. */
const HEADER_PREFIX = (1 << 16) + 12;

/** Map-like: `get` reads, checks and returns one array; nothing is kept. */
export interface NpzArchive extends Iterable<[string, NpyArray]> {
  readonly size: number;
  has(name: string): boolean;
  get(name: string): NpyArray | undefined;
  /** dtype and shape alone. */
  header(name: string): NpyHeader | undefined;
  /** Names without `.npy`, in the archive's order. */
  keys(): IterableIterator<string>;
}

export interface NpzWriteOptions {
  /** `stored` unless told (numpy's `savez`); `deflate` is `savez_compressed`. */
  readonly method?: 'stored' | 'deflate';
}

export function readNpz(reader: ByteReader, options: ZipOptions = {}): NpzArchive {
  const zip = openZip(reader, options);
  const entries = new Map<string, ZipEntry>();
  for (const entry of zip.entries.values()) {
    if (!entry.name.endsWith('.npy')) {
      const message = `expected only .npy entries, found "${entry.name}"`;
      throw new FormatError('npz.entry', message, { file: reader.name, offset: entry.headerOffset });
    }
    entries.set(entry.name.slice(0, -4), entry);
  }
  const named = (entry: ZipEntry) => `${reader.name}:${entry.name}`;
  const get = (name: string): NpyArray | undefined => {
    const entry = entries.get(name);
    return entry && readNpy(bytesReader(zip.read(entry), named(entry)));
  };
  return {
    size: entries.size,
    has: (name) => entries.has(name),
    get,
    header(name) {
      const entry = entries.get(name);
      if (!entry) return undefined;
      const prefix = bytesReader(zip.readPrefix(entry, HEADER_PREFIX), named(entry));
      const header = readNpyHeader(prefix, { partial: true });
      if (header.dataOffset + header.byteLength === entry.size) return header;
      const message = `shape (${header.shape}) needs ${header.byteLength} bytes, the entry has ${entry.size - header.dataOffset}`;
      throw new FormatError('npy.truncated', message, { file: named(entry) });
    },
    keys: () => entries.keys(),
    *[Symbol.iterator]() {
      for (const name of entries.keys()) yield [name, get(name)!];
    },
  };
}

/** The pieces of a npz file; each array is encoded when its turn comes. */
export function* npzChunks(
  arrays: Iterable<readonly [string, NpyArray]>,
  options: NpzWriteOptions = {},
): Generator<Uint8Array> {
  function* entries() {
    for (const [name, array] of arrays) yield { name: `${name}.npy`, bytes: encodeNpy(array) };
  }
  yield* zipChunks(entries(), options);
}

/** The bytes of a npz file. */
export function encodeNpz(arrays: Iterable<readonly [string, NpyArray]>, options: NpzWriteOptions = {}): Uint8Array {
  return concatBytes(npzChunks(arrays, options));
}
