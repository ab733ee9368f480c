/**
 * Files that survive a crash: whole-file replacement through a rename, and append-only files that can be cut back to a
 * length recorded earlier. POSIX promises a rename to be seen whole or not at all; what is renamed must have been
 * flushed before, and the folder after.
 */

import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Flushes a file or a folder to the disk. */
export function syncPath(path: string, kind: 'file' | 'folder' = 'file'): void {
  let descriptor: number;
  try {
    // Writing rights are needed to flush a file on some systems; a folder can only be opened for reading.
    descriptor = openSync(path, kind === 'file' ? 'r+' : 'r');
  } catch (error) {
    // Windows cannot open folders and needs no flush of them.
    if (kind === 'folder' && process.platform === 'win32') return;
    throw error;
  }
  try {
    fsyncSync(descriptor);
  } catch (error) {
    if (kind === 'file') throw error; // some network file systems refuse it for folders
  } finally {
    closeSync(descriptor);
  }
}

/** Replaces a file by `text`; readers and crashes see the old content or the new one. */
export function replaceFile(path: string, text: string): void {
  // Processes of containers often have the same number.
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const descriptor = openSync(temporary, 'w');
    try {
      writeWhole(descriptor, Buffer.from(text));
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncPath(dirname(path), 'folder');
}

export class AppendFile {
  /** Bytes in the file. */
  length: number;
  readonly path: string;
  /** Was the file shorter than the length asked for? Then something after the last flush was lost. */
  readonly lost: boolean;
  private readonly descriptor: number;

  /** Opens or makes the file and cuts it to `length` bytes; without one, keeps all of it. */
  constructor(path: string, length?: number) {
    this.path = path;
    this.descriptor = openSync(path, 'a');
    const { size } = fstatSync(this.descriptor);
    this.lost = length !== undefined && size < length;
    this.length = Math.min(size, length ?? size);
    if (this.length < size) ftruncateSync(this.descriptor, this.length);
  }

  append(bytes: Uint8Array): void {
    writeWhole(this.descriptor, bytes);
    this.length += bytes.length;
  }

  sync(): void {
    fsyncSync(this.descriptor);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

function writeWhole(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
}
