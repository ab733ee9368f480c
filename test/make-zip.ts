/** Writes small zip archives for tests, with every field open to lies; nothing here is meant for real archives. */

import { deflateRawSync } from 'node:zlib';
import { crc32 } from '../packages/torch/setup/zip-extract.mjs';

export interface ZipEntry {
  readonly name: string;
  readonly data: Uint8Array;
  /** Deflated unless false. */
  readonly deflate?: boolean;
  /** Sizes and offset in a zip64 extra field, as archives over 4 GB have them. */
  readonly zip64?: boolean;
  /** Unix mode, for links. */
  readonly mode?: number;
  /** Lies: what the directory says instead of the truth. */
  readonly declared?: { readonly crc?: number; readonly size?: number; readonly offset?: number };
}

export function makeZip(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const method = entry.deflate === false ? 0 : 8;
    const packed = method === 8 ? deflateRawSync(entry.data) : Buffer.from(entry.data);
    const crc = entry.declared?.crc ?? crc32(entry.data);
    const size = entry.declared?.size ?? entry.data.length;
    const offset = entry.declared?.offset ?? at;

    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(name.length, 26);
    parts.push(local, name, packed);
    at += local.length + name.length + packed.length;

    const extra = entry.zip64 ? Buffer.alloc(28) : Buffer.alloc(0);
    if (entry.zip64) {
      extra.writeUInt16LE(1, 0);
      extra.writeUInt16LE(24, 2);
      [size, packed.length, offset].forEach((value, i) => {
        extra.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
      });
    }
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(entry.zip64 ? 0xffffffff : packed.length, 20);
    central.writeUInt32LE(entry.zip64 ? 0xffffffff : size, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt16LE(extra.length, 30);
    central.writeUInt32LE(((entry.mode ?? 0o100644) << 16) >>> 0, 38);
    central.writeUInt32LE(entry.zip64 ? 0xffffffff : offset, 42);
    directory.push(central, name, extra);
  }
  const central = Buffer.concat(directory);
  const zip64 = entries.some((entry) => entry.zip64);
  return Buffer.concat([...parts, central, ...(zip64 ? ends64(entries.length, central.length, at) : []), end(zip64)]);

  function end(wide: boolean): Buffer {
    const record = Buffer.alloc(22);
    record.writeUInt32LE(0x06054b50, 0);
    record.writeUInt16LE(wide ? 0xffff : entries.length, 10);
    record.writeUInt32LE(wide ? 0xffffffff : central.length, 12);
    record.writeUInt32LE(wide ? 0xffffffff : at, 16);
    return record;
  }
}

function ends64(count: number, length: number, start: number): Buffer[] {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(length), 40);
  record.writeBigUInt64LE(BigInt(start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(start + length), 8);
  return [record, locator];
}
