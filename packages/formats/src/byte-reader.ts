/**
 * Random access to bytes, the only input that the readers of this package know.
 *
 * The idea: a reader asks for exactly the range that it has already checked against `byteLength`, so a
 * lying size can never allocate more than the file holds. In memory it is a view, on disk (`node.ts`)
 * one positioned read; a browser can put a `Blob` that it has loaded behind it.
 */
import { FormatError } from './format-error.ts';

export interface ByteReader {
  /** Shown in errors: a path, or `archive.npz:entry`. */
  readonly name: string;
  readonly byteLength: number;
  /**
   * The bytes [offset, offset + length). May be a view on shared memory: callers do not write into it.
   * Throws `read.out-of-range` unless the whole range lies inside.
   */
  read(offset: number, length: number): Uint8Array;
}

/** A reader over bytes in memory; `read` returns views without copying. */
export function bytesReader(bytes: Uint8Array, name = 'bytes'): ByteReader {
  // Node's Buffer is a Uint8Array whose slice() is a view; behind a reader all bytes are plain.
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    name,
    byteLength: plain.byteLength,
    read(offset, length) {
      checkRange(this, offset, length);
      return plain.subarray(offset, offset + length);
    },
  };
}

/** The part [start, start + length) of another reader, counted from zero. */
export function rangeReader(source: ByteReader, start: number, length: number, name = source.name): ByteReader {
  checkRange(source, start, length);
  return {
    name,
    byteLength: length,
    read(offset, count) {
      checkRange(this, offset, count);
      return source.read(start + offset, count);
    },
  };
}

/** Throws `read.out-of-range` unless [offset, offset + length) lies inside the reader. */
export function checkRange(reader: { name: string; byteLength: number }, offset: number, length: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (whole && offset <= reader.byteLength && length <= reader.byteLength - offset) return;
  throw new FormatError(
    'read.out-of-range',
    `expected ${length} bytes from byte ${offset}, but the file ends at byte ${reader.byteLength}`,
    { file: reader.name, offset },
  );
}

/** A little-endian window on bytes, without copying. */
export function dataViewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Joins pieces into one array. */
export function concatBytes(pieces: Iterable<Uint8Array>): Uint8Array {
  const list = [...pieces];
  const out = new Uint8Array(list.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of list) {
    out.set(piece, at);
    at += piece.byteLength;
  }
  return out;
}
