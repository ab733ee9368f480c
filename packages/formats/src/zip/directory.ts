/**
 * The central directory of a zip archive: which entries there are and where.
 *
 * Format: PKWARE APPNOTE 6.3 (sections 4.3 and 4.5.3). The directory at the end is the only list that
 * counts; local headers are compared with it later. Refused: several disks, encryption, two entries of one
 * name, entries that overlap, anything between the directory and its end record: shapes that no archiver
 * writes and that make two readers see two different archives.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';

const END_RECORD = 0x06054b50;
const END_LOCATOR_64 = 0x07064b50;
const END_RECORD_64 = 0x06064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END_LENGTH = 22;
const LONGEST_COMMENT = 0xffff;
/** Entries cost about ten times their directory bytes in memory; real archives have some thousands. */
const MOST_ENTRIES = 1 << 18;
const ENCRYPTED = 1;

export interface ZipEntry {
  readonly name: string;
  readonly method: 'stored' | 'deflate';
  /** Bytes in the archive. */
  readonly compressedSize: number;
  /** Bytes unpacked. */
  readonly size: number;
  readonly crc32: number;
  /** Where the local header starts in the archive. */
  readonly headerOffset: number;
  /** Where the next entry (or the directory) starts: the data must end before. */
  readonly limit: number;
}

/** Reads and checks the directory; touches no entry's data. */
export function readZipDirectory(reader: ByteReader): Map<string, ZipEntry> {
  const end = findEnd(reader);
  if (end.count > MOST_ENTRIES) fail(reader, 'too-many-entries', `${end.count} entries, more than ${MOST_ENTRIES}`);
  if (end.offset + end.size !== end.recordOffset) {
    const message = `the directory (${end.size} bytes at ${end.offset}) does not end where its end record starts`;
    fail(reader, 'directory', message, end.recordOffset);
  }
  const entries = parseDirectory(reader, end);
  return withLimits(reader, entries, end.offset);
}

/** A 64-bit little-endian number, refused above 2^53 - 1. */
export function readU64(reader: ByteReader, view: DataView, at: number, fileOffset: number): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) fail(reader, 'overflow', `a size of ${value} bytes`, fileOffset + at);
  return Number(value);
}

/** The 64-bit sizes of extra field 1, present only for those fields that are all ones in the header. */
export function readExtra64(reader: ByteReader, extra: Uint8Array, wanted: number, fileOffset: number): number[] {
  const view = dataViewOf(extra);
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const id = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    const start = at + 4;
    if (start + length > extra.byteLength) break;
    if (id === 1) {
      if (length < wanted * 8) break;
      return Array.from({ length: wanted }, (_, i) => readU64(reader, view, start + 8 * i, fileOffset));
    }
    at = start + length;
  }
  return wanted === 0 ? [] : fail(reader, 'zip64', 'a 64-bit size is announced but missing', fileOffset);
}

interface DirectoryEnd {
  readonly count: number;
  readonly size: number;
  readonly offset: number;
  /** Where the (64-bit, if present) end record starts. */
  readonly recordOffset: number;
}

function findEnd(reader: ByteReader): DirectoryEnd {
  const tailLength = Math.min(reader.byteLength, END_LENGTH + LONGEST_COMMENT);
  const tailStart = reader.byteLength - tailLength;
  const tail = reader.read(tailStart, tailLength);
  const view = dataViewOf(tail);
  for (let at = tailLength - END_LENGTH; at >= 0; at--) {
    if (view.getUint32(at, true) !== END_RECORD) continue;
    if (at + END_LENGTH + view.getUint16(at + 20, true) !== tailLength) continue;
    return readEnd(reader, view, at, tailStart);
  }
  return fail(reader, 'no-end-record', 'no end of a zip directory: not a zip archive, or cut off', reader.byteLength);
}

function readEnd(reader: ByteReader, view: DataView, at: number, tailStart: number): DirectoryEnd {
  const recordOffset = tailStart + at;
  const disk = view.getUint16(at + 4, true);
  const directoryDisk = view.getUint16(at + 6, true);
  const here = view.getUint16(at + 8, true);
  const count = view.getUint16(at + 10, true);
  const size = view.getUint32(at + 12, true);
  const offset = view.getUint32(at + 16, true);
  const wide = readEnd64(reader, recordOffset);
  if (wide) {
    const agrees =
      (count === 0xffff || count === wide.count) &&
      (size === 0xffffffff || size === wide.size) &&
      (offset === 0xffffffff || offset === wide.offset);
    if (!agrees) fail(reader, 'zip64', 'the 32-bit and the 64-bit end record disagree', recordOffset);
    return wide;
  }
  if (disk !== 0 || directoryDisk !== 0 || here !== count) {
    fail(reader, 'several-disks', 'archives on several disks are not supported', recordOffset);
  }
  return { count, size, offset, recordOffset };
}

function readEnd64(reader: ByteReader, endOffset: number): DirectoryEnd | undefined {
  if (endOffset < 20) return undefined;
  const locator = dataViewOf(reader.read(endOffset - 20, 20));
  if (locator.getUint32(0, true) !== END_LOCATOR_64) return undefined;
  const recordOffset = readU64(reader, locator, 8, endOffset - 20);
  if (recordOffset + 56 > endOffset - 20)
    fail(reader, 'zip64', 'the 64-bit end record is out of place', endOffset - 20);
  const record = dataViewOf(reader.read(recordOffset, 56));
  const length = readU64(reader, record, 4, recordOffset);
  if (record.getUint32(0, true) !== END_RECORD_64 || recordOffset + 12 + length !== endOffset - 20) {
    fail(reader, 'zip64', 'the 64-bit end record is damaged', recordOffset);
  }
  const here = readU64(reader, record, 24, recordOffset);
  const count = readU64(reader, record, 32, recordOffset);
  if (record.getUint32(16, true) !== 0 || record.getUint32(20, true) !== 0 || here !== count) {
    fail(reader, 'several-disks', 'archives on several disks are not supported', recordOffset);
  }
  const size = readU64(reader, record, 40, recordOffset);
  return { count, size, offset: readU64(reader, record, 48, recordOffset), recordOffset };
}

function parseDirectory(reader: ByteReader, end: DirectoryEnd): ZipEntry[] {
  const bytes = reader.read(end.offset, end.size);
  const view = dataViewOf(bytes);
  const entries: ZipEntry[] = [];
  const names = new Set<string>();
  let at = 0;
  for (let i = 0; i < end.count; i++) {
    const place = end.offset + at;
    if (at + 46 > bytes.byteLength || view.getUint32(at, true) !== DIRECTORY_ENTRY) {
      fail(reader, 'directory', `entry ${i} of ${end.count} of the directory is damaged or missing`, place);
    }
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (next > bytes.byteLength) fail(reader, 'directory', `entry ${i} runs out of the directory`, place);
    const name = decodeName(reader, bytes.subarray(at + 46, at + 46 + nameLength), place);
    if (names.has(name)) fail(reader, 'duplicate-name', `two entries are called "${name}"`, place);
    names.add(name);
    const extra = bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    entries.push(parseEntry(reader, view, at, name, extra, place));
    at = next;
  }
  if (at !== bytes.byteLength) fail(reader, 'directory', 'the directory holds more than its entries', end.offset + at);
  return entries;
}

function parseEntry(
  reader: ByteReader,
  view: DataView,
  at: number,
  name: string,
  extra: Uint8Array,
  place: number,
): ZipEntry {
  if (view.getUint16(at + 8, true) & ENCRYPTED) fail(reader, 'encrypted', `entry "${name}" is encrypted`, place);
  const methodCode = view.getUint16(at + 10, true);
  const method = methodCode === 0 ? 'stored' : methodCode === 8 ? 'deflate' : undefined;
  if (!method) return fail(reader, 'method', `entry "${name}" uses compression method ${methodCode}`, place);
  // Order of the wide values: unpacked size, packed size, offset; each only where the narrow one is all ones.
  const narrow = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
  const wide = readExtra64(reader, extra, narrow.filter((value) => value === 0xffffffff).length, place);
  const [size, compressedSize, headerOffset] = narrow.map((value) => (value === 0xffffffff ? wide.shift()! : value));
  if (method === 'stored' && size !== compressedSize) {
    fail(reader, 'lying-size', `entry "${name}" is stored, but its two sizes are ${compressedSize} and ${size}`, place);
  }
  return {
    name,
    method,
    size: size!,
    compressedSize: compressedSize!,
    crc32: view.getUint32(at + 16, true),
    headerOffset: headerOffset!,
    limit: 0,
  };
}

/** Orders the entries by place, refuses overlaps and tells each where it must have ended. */
function withLimits(reader: ByteReader, entries: ZipEntry[], directoryOffset: number): Map<string, ZipEntry> {
  const limits = new Map<string, number>();
  let limit = directoryOffset;
  for (const entry of [...entries].sort((a, b) => b.headerOffset - a.headerOffset)) {
    const shortest = entry.headerOffset + 30 + entry.compressedSize;
    if (shortest > limit) {
      fail(reader, 'overlap', `entry "${entry.name}" runs into what follows it at byte ${limit}`, entry.headerOffset);
    }
    limits.set(entry.name, limit);
    limit = entry.headerOffset;
  }
  return new Map(entries.map((entry) => [entry.name, { ...entry, limit: limits.get(entry.name)! }]));
}

function decodeName(reader: ByteReader, bytes: Uint8Array, place: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail(reader, 'name', 'the name of an entry is not UTF-8', place);
  }
}

function fail(reader: ByteReader, rule: string, message: string, offset?: number): never {
  throw new FormatError(
    `zip.${rule}`,
    message,
    offset === undefined ? { file: reader.name } : { file: reader.name, offset },
  );
}
