// Unpacks chosen entries of a zip archive (a Python wheel is one) with Node's own zlib: the set-up runs before any npm
// package can be relied on. Read from the central directory, as PKWARE's APPNOTE lays it down (sections 4.3.12 to 4.3.16,
// zip64 in 4.5.3); entries stored or deflated. The archive is not trusted: sizes are checked against the file, inflation
// stops at the declared size, every CRC is compared, and no entry may leave the target folder or be a link.

import { closeSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { SetupFailure } from './setup-failure.mjs';

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const MARK_32 = 0xffffffff;
const CHUNK = 1 << 20;
/** Entries up to this size are inflated in one call; larger ones as a stream. */
const WHOLE = 4 << 20;
/** Far above any libtorch (a CUDA build unpacks to some 4 GB), far below a disk-filling bomb. */
const MAX_TOTAL = 16 * 2 ** 30;
const MAX_DIRECTORY = 256 << 20;

/**
 * @param {string} archive
 * @param {string} target folder, made when missing
 * @param {(name: string) => string | undefined} select gives each wanted entry its path below target
 * @returns {Promise<{files: number, bytes: number}>}
 */
export async function extractZip(archive, target, select) {
  const fd = openSync(archive, 'r');
  try {
    const size = statSync(archive).size;
    const chosen = [];
    const seen = new Set();
    let total = 0;
    for (const entry of readDirectory(fd, size, archive)) {
      if (entry.name.endsWith('/')) continue;
      const path = select(entry.name);
      if (path === undefined) continue;
      checkPath(path, entry, archive);
      if (seen.has(path)) throw broken(archive, `${entry.name} occurs twice`);
      seen.add(path);
      total += entry.size;
      if (total > MAX_TOTAL) throw broken(archive, `unpacks to more than ${MAX_TOTAL} bytes`);
      chosen.push({ ...entry, path });
    }
    const folders = new Set(chosen.map((entry) => dirname(join(target, entry.path))));
    for (const folder of [target, ...folders]) mkdirSync(folder, { recursive: true });
    for (const entry of chosen) {
      const path = join(target, entry.path);
      await extractEntry(fd, size, entry, path, archive);
    }
    return { files: chosen.length, bytes: total };
  } finally {
    closeSync(fd);
  }
}

/**
 * @param {string} archive
 * @returns {string[]} names of all entries
 */
export function listZip(archive) {
  const fd = openSync(archive, 'r');
  try {
    return readDirectory(fd, statSync(archive).size, archive).map((entry) => entry.name);
  } finally {
    closeSync(fd);
  }
}

function readDirectory(fd, size, archive) {
  const { count, start, length } = findDirectory(fd, size, archive);
  if (start + length > size) throw broken(archive, `its directory ends at ${start + length} of ${size} bytes`);
  if (length > MAX_DIRECTORY) throw broken(archive, `its directory has ${length} bytes`);
  const bytes = readAt(fd, start, length, archive);
  const entries = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > length || bytes.readUInt32LE(at) !== CENTRAL_HEADER) {
      throw broken(archive, `entry ${i} of ${count} is missing from its directory`);
    }
    const nameLength = bytes.readUInt16LE(at + 28);
    const extraLength = bytes.readUInt16LE(at + 30);
    const next = at + 46 + nameLength + extraLength + bytes.readUInt16LE(at + 32);
    if (next > length) throw broken(archive, `entry ${i} runs past the end of its directory`);
    const entry = {
      name: bytes.toString('utf8', at + 46, at + 46 + nameLength),
      flags: bytes.readUInt16LE(at + 8),
      method: bytes.readUInt16LE(at + 10),
      crc: bytes.readUInt32LE(at + 16),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      offset: bytes.readUInt32LE(at + 42),
      mode: bytes.readUInt32LE(at + 38) >>> 16,
    };
    const extra = bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    widen(entry, extra, archive);
    entries.push(entry);
    at = next;
  }
  return entries;
}

function findDirectory(fd, size, archive) {
  const tailLength = Math.min(size, 22 + 0xffff);
  const tail = readAt(fd, size - tailLength, tailLength, archive);
  for (let at = tailLength - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== END) continue;
    const count = tail.readUInt16LE(at + 10);
    const length = tail.readUInt32LE(at + 12);
    const start = tail.readUInt32LE(at + 16);
    if (count !== 0xffff && length !== MARK_32 && start !== MARK_32) return { count, length, start };
    if (at < 20 || tail.readUInt32LE(at - 20) !== END64_LOCATOR) return { count, length, start };
    const end64At = toNumber(tail.readBigUInt64LE(at - 20 + 8), archive);
    if (end64At + 56 > size) throw broken(archive, 'its zip64 directory lies past the end');
    const end64 = readAt(fd, end64At, 56, archive);
    if (end64.readUInt32LE(0) !== END64) throw broken(archive, 'its zip64 directory is not where it says');
    return {
      count: toNumber(end64.readBigUInt64LE(32), archive),
      length: toNumber(end64.readBigUInt64LE(40), archive),
      start: toNumber(end64.readBigUInt64LE(48), archive),
    };
  }
  throw broken(archive, `no zip directory at the end of its ${size} bytes (half-downloaded?)`);
}

/** Replaces the fields marked as too large for 32 bits by those of the zip64 extra field (APPNOTE 4.5.3). */
function widen(entry, extra, archive) {
  const fields = ['size', 'packed', 'offset'].filter((field) => entry[field] === MARK_32);
  if (fields.length === 0) return;
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    if (at + 4 + 8 * fields.length > extra.length) break;
    fields.forEach((field, i) => {
      entry[field] = toNumber(extra.readBigUInt64LE(at + 4 + 8 * i), archive);
    });
    return;
  }
  throw broken(archive, `${entry.name} has no zip64 sizes`);
}

function checkPath(path, entry, archive) {
  const parts = path.split('/');
  const isLink = (entry.mode & 0xf000) === 0xa000;
  const leaves = parts.some((part) => part === '' || part === '.' || part === '..') || /[\\:\0]/.test(path);
  if (leaves || isLink) {
    throw new SetupFailure(
      'ZIP_UNSAFE_PATH',
      `${archive} is not to be trusted: its entry ${JSON.stringify(entry.name)} ${isLink ? 'is a link' : 'leaves the folder'}. Delete the archive and fetch it anew.`,
    );
  }
}

async function extractEntry(fd, archiveSize, entry, path, archive) {
  if (entry.flags & 1) throw broken(archive, `${entry.name} is encrypted`);
  const start = dataStart(fd, archiveSize, entry, archive);
  const out = openSync(path, 'wx');
  let written = 0;
  let sum = 0;
  const write = (bytes) => {
    written += bytes.length;
    if (written > entry.size) throw broken(archive, `${entry.name} is longer than the ${entry.size} bytes it declares`);
    sum = crc32(bytes, sum);
    for (let at = 0; at < bytes.length; ) at += writeSync(out, bytes, at);
  };
  try {
    if (entry.method === 0) for (const bytes of chunks(fd, start, entry.packed, archive)) write(bytes);
    else if (entry.method === 8) await inflate(fd, start, entry, write, archive);
    else throw broken(archive, `${entry.name} is packed by method ${entry.method}; only 0 and 8 are read`);
  } finally {
    closeSync(out);
  }
  if (written !== entry.size) {
    throw broken(archive, `${entry.name} has ${written} bytes, its directory says ${entry.size}`);
  }
  if (sum !== entry.crc) throw broken(archive, `${entry.name} fails its CRC`);
}

function dataStart(fd, archiveSize, entry, archive) {
  const header = entry.offset + 30 <= archiveSize ? readAt(fd, entry.offset, 30, archive) : Buffer.alloc(30);
  if (header.readUInt32LE(0) !== LOCAL_HEADER) throw broken(archive, `${entry.name} is not where the directory says`);
  const start = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  if (start + entry.packed > archiveSize) throw broken(archive, `${entry.name} runs past the end of the file`);
  return start;
}

async function inflate(fd, start, entry, write, archive) {
  let own; // pipeline() reports an abort of its source instead of what the consumer threw
  try {
    if (entry.packed <= WHOLE && entry.size <= WHOLE) {
      const packed = readAt(fd, start, entry.packed, archive);
      write(zlib.inflateRawSync(packed, { maxOutputLength: entry.size + 1 }));
      return;
    }
    const source = Readable.from(chunks(fd, start, entry.packed, archive));
    await pipeline(source, zlib.createInflateRaw({ chunkSize: CHUNK }), async (inflated) => {
      try {
        for await (const bytes of inflated) write(bytes);
      } catch (error) {
        own = error;
        throw error;
      }
    });
  } catch (thrown) {
    const error = own ?? thrown;
    if (error instanceof SetupFailure) throw error;
    if (typeof error?.code === 'string' && error.code.startsWith('E') && !error.code.startsWith('ERR_')) throw error;
    throw broken(archive, `${entry.name} cannot be inflated (${error.message})`);
  }
}

function* chunks(fd, start, length, archive) {
  for (let at = 0; at < length; at += CHUNK) yield readAt(fd, start + at, Math.min(CHUNK, length - at), archive);
}

function readAt(fd, position, length, archive) {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const count = readSync(fd, bytes, at, length - at, position + at);
    if (count === 0) throw broken(archive, `ends at byte ${position + at}`);
    at += count;
  }
  return bytes;
}

function toNumber(value, archive) {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(archive, `a size of ${value} bytes is not credible`);
  return Number(value);
}

function broken(archive, what) {
  return new SetupFailure('ARCHIVE_CORRUPT', `The archive ${archive} is damaged: ${what}.`);
}

let table;

/** CRC-32 of the zip format. Node has it from 20.15 on; the plain table serves the releases before. */
export function crc32(bytes, start = 0) {
  if (zlib.crc32 !== undefined) return zlib.crc32(bytes, start);
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  let sum = ~start;
  for (let i = 0; i < bytes.length; i++) sum = (sum >>> 8) ^ table[(sum ^ bytes[i]) & 0xff];
  return ~sum >>> 0;
}
