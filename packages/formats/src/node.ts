/**
 * Files on disk behind a `ByteReader`: the one part of this package that needs Node, under the subpath
 * `@tessera/formats/node`. Reads are positioned and synchronous; nothing is read ahead or kept.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { type ByteReader, checkRange } from './byte-reader.ts';
import { FormatError } from './format-error.ts';

/** Some systems refuse single reads of 2 GiB and more. */
const LARGEST_READ = 1 << 30;

export interface FileByteReader extends ByteReader {
  /** Gives the file descriptor back; reading afterwards throws. Closing twice is harmless. */
  close(): void;
}

/** Opens a file for reading. The caller closes it; `withFile` does so by itself. */
export function openFile(path: string): FileByteReader {
  const descriptor = openOrExplain(path);
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new FormatError('read.not-a-file', 'expected a file, but this is a folder or a device', { file: path });
  }
  let open = true;
  return {
    name: path,
    byteLength: stat.size,
    read(offset, length) {
      if (!open) throw new FormatError('read.closed', 'the file was closed before this read', { file: path, offset });
      checkRange(this, offset, length);
      return readFully(descriptor, path, offset, length);
    },
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

/** Runs `fn` on an open file and closes it on every path. `fn` is synchronous: a promise is refused. */
export function withFile<T>(path: string, fn: (reader: FileByteReader) => T): T {
  const reader = openFile(path);
  try {
    const result = fn(reader);
    if (result instanceof Promise) {
      throw new TypeError('withFile: expected a synchronous function, but it returned a promise; use openFile');
    }
    return result;
  } finally {
    reader.close();
  }
}

function openOrExplain(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new FormatError('read.cannot-open', `cannot be opened (${reason})`, { file: path, cause });
  }
}

function readFully(descriptor: number, path: string, offset: number, length: number): Uint8Array {
  const out = allocate(path, offset, length);
  let done = 0;
  while (done < length) {
    const count = readSync(descriptor, out, done, Math.min(LARGEST_READ, length - done), offset + done);
    if (count === 0) {
      throw new FormatError('read.out-of-range', `the file became shorter while it was read, ${done} of ${length}`, {
        file: path,
        offset: offset + done,
      });
    }
    done += count;
  }
  return out;
}

function allocate(path: string, offset: number, length: number): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new FormatError('read.too-large', `${length} bytes do not fit into one array here; read it in parts`, {
      file: path,
      offset,
      cause,
    });
  }
}
