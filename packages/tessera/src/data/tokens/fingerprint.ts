/** Tells files of gigabytes apart by a few kilobytes of them: a resumed run must not go on with other data. */
import { createHash } from 'node:crypto';
import type { ByteReader } from '@tessera/formats';

const BLOCK = 4096;
const NUM_BLOCKS = 16;

/** Over the length and evenly spread blocks, first and last among them. */
export function fingerprintOf(reader: ByteReader): string {
  const hash = createHash('sha256').update(`${reader.byteLength}\n`);
  const last = Math.max(0, reader.byteLength - BLOCK);
  for (let i = 0; i < NUM_BLOCKS; i++) {
    const offset = Math.floor((last * i) / (NUM_BLOCKS - 1));
    hash.update(reader.read(offset, Math.min(BLOCK, reader.byteLength)));
  }
  return hash.digest('hex');
}
