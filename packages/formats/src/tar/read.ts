/**
 * Lists the members of a tar archive; their bytes stay where they are, at `offset`.
 *
 * Read are POSIX ustar (names in two fields), pax (records `path` and `size` of `x` headers; of `g` headers nothing that
 * concerns a single member) and GNU's long names (`L`) and base-256 numbers. Every header must have its checksum, every
 * member must lie inside the archive, and the archive must end with a block of zeros: one that is cut off is refused
 * before anything is made of its first half. Names are told, not followed: nothing here writes files.
 */
import type { ByteReader } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';

export interface TarEntry {
  /** As stored, with `/` between its parts. */
  readonly name: string;
  readonly kind: 'file' | 'folder' | 'other';
  /** Where the member's bytes start in the archive. */
  readonly offset: number;
  readonly size: number;
}

const BLOCK = 512;
/** Of a pax header or a long name: paths have at most a few thousand bytes. */
const LARGEST_EXTRA = 1 << 20;

/** What headers before a member said of it. */
interface Said {
  path?: string;
  size?: number;
}

/** In the archive's order; an entry is checked when it is reached. */
export function* tarEntries(reader: ByteReader): Generator<TarEntry> {
  let said: Said = {};
  let at = 0;
  for (;;) {
    if (at + BLOCK > reader.byteLength) {
      refuse(reader, 'truncated', 'the archive ends without its closing block of zeros: it is cut off', at);
    }
    const header = reader.read(at, BLOCK);
    if (header.every((byte) => byte === 0)) {
      if (said.path !== undefined || said.size !== undefined) refuse(reader, 'extra', 'a header without a member', at);
      return;
    }
    checkSum(reader, header, at);
    const type = String.fromCharCode(header[156]!);
    const isExtra = type === 'x' || type === 'g' || type === 'L' || type === 'K';
    const size = hasData(type) ? ((isExtra ? undefined : said.size) ?? numberAt(reader, header, 124, 12, at)) : 0;
    const offset = at + BLOCK;
    if (size > reader.byteLength - offset) {
      refuse(
        reader,
        'truncated',
        `a member of ${size} bytes, but the archive ends after ${reader.byteLength - offset}`,
        at,
      );
    }
    if (isExtra) {
      if (size > LARGEST_EXTRA) refuse(reader, 'extra', `a header of ${size} bytes, more than ${LARGEST_EXTRA}`, at);
      const bytes = reader.read(offset, size);
      if (type === 'L') said.path = textOf(reader, bytes, at);
      if (type === 'x') said = { ...said, ...paxRecords(reader, bytes, offset) };
    } else {
      if (type === 'S') refuse(reader, 'sparse', 'sparse members are not read; write the archive without them', at);
      const name = said.path ?? storedName(reader, header, at);
      if (name === '') refuse(reader, 'name', 'a member without a name', at);
      yield { name, kind: kindOf(type, name), offset, size };
      said = {};
    }
    at = offset + Math.ceil(size / BLOCK) * BLOCK;
  }
}

/** Links, devices, folders and pipes have none, whatever their size field says. */
function hasData(type: string): boolean {
  return !'123456'.includes(type);
}

function kindOf(type: string, name: string): TarEntry['kind'] {
  if (type === '5') return 'folder';
  if (type !== '0' && type !== '\0' && type !== '7') return 'other';
  // Before POSIX, folders were files whose name ends in a slash.
  return name.endsWith('/') ? 'folder' : 'file';
}

function storedName(reader: ByteReader, header: Uint8Array, at: number): string {
  const name = textOf(reader, header.subarray(0, 100), at);
  // GNU's own header ("ustar  ") keeps times where POSIX ("ustar\0") keeps the first part of the path.
  const isPosix = header[257] === 0x75 && header[262] === 0;
  const prefix = isPosix ? textOf(reader, header.subarray(345, 500), at) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** The sum of all bytes, the checksum's own field counted as spaces. */
function checkSum(reader: ByteReader, header: Uint8Array, at: number): void {
  const stored = numberAt(reader, header, 148, 8, at);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : header[i]!;
  if (sum !== stored) {
    refuse(reader, 'checksum', `a header whose checksum is ${sum}, not ${stored} as it says: no tar, or damaged`, at);
  }
}

/** Octal digits, or big-endian binary after a byte of 0x80. */
function numberAt(reader: ByteReader, header: Uint8Array, start: number, length: number, at: number): number {
  const field = header.subarray(start, start + length);
  if (field[0] === 0x80) {
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (Number.isSafeInteger(value)) return value;
    return refuse(reader, 'number', 'a number of more than 53 bits', at);
  }
  const text = String.fromCharCode(...field)
    .replace(/\0.*$/s, '')
    .trim();
  if (!/^[0-7]*$/.test(text)) return refuse(reader, 'number', `expected octal digits, got "${text}"`, at);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

/** Records of `length key=value\n`, the length counting itself; the last of a key counts. */
function paxRecords(reader: ByteReader, bytes: Uint8Array, offset: number): Said {
  const said: Said = {};
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 7 ? '' : String.fromCharCode(...bytes.subarray(at, space));
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, space);
    if (
      !/^[1-9]\d*$/.test(digits) ||
      end > bytes.length ||
      equals < space ||
      equals >= end ||
      bytes[end - 1] !== 0x0a
    ) {
      return refuse(reader, 'pax', 'expected records of "length key=value"', offset + at);
    }
    const key = textOf(reader, bytes.subarray(space + 1, equals), offset);
    const value = textOf(reader, bytes.subarray(equals + 1, end - 1), offset);
    if (key.startsWith('GNU.sparse')) {
      return refuse(reader, 'sparse', 'sparse members are not read; write the archive without them', offset + at);
    }
    if (key === 'path') said.path = value;
    if (key === 'size') {
      said.size = Number(value);
      if (!/^\d{1,15}$/.test(value)) return refuse(reader, 'pax', `expected a size, got "${value}"`, offset + at);
    }
    at = end;
  }
  return said;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Up to the first zero byte, as UTF-8. */
function textOf(reader: ByteReader, bytes: Uint8Array, at: number): string {
  const zero = bytes.indexOf(0);
  try {
    return utf8.decode(zero < 0 ? bytes : bytes.subarray(0, zero));
  } catch {
    return refuse(reader, 'name', 'a name that is not UTF-8', at);
  }
}

function refuse(reader: ByteReader, rule: string, message: string, offset: number): never {
  throw new FormatError(`tar.${rule}`, message, { file: reader.name, offset });
}
