/**
 * Writes zip archives in pieces: local header and data of each entry, then the directory.
 *
 * Sizes are known before each entry is written, so no data descriptors are needed. 64-bit fields appear
 * where a size or offset needs them. The time stamp is always 1980-01-01, the first that zip has: equal
 * content gives equal bytes.
 */
import { deflateSync } from 'fflate';
import { crc32 } from '../crc.ts';
import { FormatError } from '../format-error.ts';

const WIDE = 0xffffffff;
/** Without name and extra fields. */
const LOCAL_HEADER_BYTES = 30;
const UTF8_NAMES = 0x800;
const DATE_1980_01_01 = 0x21;

export interface ZipEntryToWrite {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The data starts at a multiple of this many bytes: padded by an extra field, as PyTorch does for mapping. */
  readonly align?: number;
}

export interface ZipWriteOptions {
  /** `stored` unless told. */
  readonly method?: 'stored' | 'deflate';
  /** Write 64-bit fields even where they are not needed. */
  readonly zip64?: boolean;
}

/** The pieces of the archive, in order. */
export function* zipChunks(entries: Iterable<ZipEntryToWrite>, options: ZipWriteOptions = {}): Generator<Uint8Array> {
  const method = options.method ?? 'stored';
  const directory: Uint8Array[] = [];
  const names = new Set<string>();
  let offset = 0;
  for (const { name, bytes, align = 1 } of entries) {
    const nameBytes = new TextEncoder().encode(name);
    if (names.has(name) || nameBytes.byteLength > 0xffff) {
      throw new FormatError('zip.write-name', `the entry name "${name}" is used twice or too long`, {
        file: 'zip writer',
      });
    }
    names.add(name);
    const data = method === 'deflate' ? deflateSync(bytes) : bytes;
    const entry = { nameBytes, method, crc: crc32(bytes), size: bytes.byteLength, packed: data.byteLength, offset };
    const header = localHeader(entry, options.zip64 ?? false, align);
    directory.push(directoryEntry(entry, options.zip64 ?? false));
    yield header;
    yield data;
    offset += header.byteLength + data.byteLength;
  }
  yield* directory;
  const size = directory.reduce((sum, piece) => sum + piece.byteLength, 0);
  yield endRecords(directory.length, size, offset, options.zip64 ?? false);
}

/**
 * What stands before and after the data in an archive of one stored entry: for data that comes in pieces. Lengths do not
 * depend on the checksum, so that a first `head` with any checksum keeps the place of the right one.
 */
export function storedFrame(
  name: string,
  size: number,
  crc: number,
  zip64 = false,
): { head: Uint8Array; tail: Uint8Array } {
  const nameBytes = new TextEncoder().encode(name);
  const entry = { nameBytes, method: 'stored', crc, size, packed: size, offset: 0 } as const;
  const head = localHeader(entry, zip64, 1);
  const directory = directoryEntry(entry, zip64);
  return { head, tail: pack([directory, endRecords(1, directory.byteLength, head.byteLength + size, zip64)]) };
}

interface Written {
  readonly nameBytes: Uint8Array;
  readonly method: 'stored' | 'deflate';
  readonly crc: number;
  readonly size: number;
  readonly packed: number;
  readonly offset: number;
}

function localHeader(entry: Written, force: boolean, align: number): Uint8Array {
  const wide = force || entry.size >= WIDE || entry.packed >= WIDE;
  const sizes = wide ? extra64([entry.size, entry.packed]) : new Uint8Array(0);
  const before = entry.offset + LOCAL_HEADER_BYTES + entry.nameBytes.byteLength + sizes.byteLength;
  const extra = pack([sizes, padding(before, align)]);
  return pack([
    ...[u32(0x04034b50), u16(wide ? 45 : 20), u16(UTF8_NAMES), u16(entry.method === 'stored' ? 0 : 8)],
    ...[u16(0), u16(DATE_1980_01_01), u32(entry.crc)],
    ...[u32(wide ? WIDE : entry.packed), u32(wide ? WIDE : entry.size)],
    ...[u16(entry.nameBytes.byteLength), u16(extra.byteLength), entry.nameBytes, extra],
  ]);
}

function directoryEntry(entry: Written, force: boolean): Uint8Array {
  const wide = force || entry.size >= WIDE || entry.packed >= WIDE || entry.offset >= WIDE;
  const extra = wide ? extra64([entry.size, entry.packed, entry.offset]) : new Uint8Array(0);
  const narrow = (value: number) => u32(wide ? WIDE : value);
  return pack([
    ...[u32(0x02014b50), u16(wide ? 45 : 20), u16(wide ? 45 : 20), u16(UTF8_NAMES)],
    ...[u16(entry.method === 'stored' ? 0 : 8), u16(0), u16(DATE_1980_01_01), u32(entry.crc)],
    ...[narrow(entry.packed), narrow(entry.size), u16(entry.nameBytes.byteLength), u16(extra.byteLength)],
    ...[u16(0), u16(0), u16(0), u32(0), narrow(entry.offset), entry.nameBytes, extra],
  ]);
}

function endRecords(count: number, size: number, offset: number, force: boolean): Uint8Array {
  const wide = force || count >= 0xffff || size >= WIDE || offset >= WIDE;
  const record64 = [u32(0x06064b50), u64(44), u16(45), u16(45), u32(0), u32(0), u64(count), u64(count), u64(size)];
  const locator = [u64(offset), u32(0x07064b50), u32(0), u64(offset + size), u32(1)];
  const short = wide ? 0xffff : count;
  return pack([
    ...(wide ? [...record64, ...locator] : []),
    ...[u32(0x06054b50), u16(0), u16(0), u16(short), u16(short)],
    ...[u32(wide ? WIDE : size), u32(wide ? WIDE : offset), u16(0)],
  ]);
}

/** An extra field "FB" that ends at a multiple of `align`: four bytes of header and as many of padding as it takes. */
function padding(before: number, align: number): Uint8Array {
  if (align === 1) return new Uint8Array(0);
  const length = (align - ((before + 4) % align)) % align;
  return pack([u16(0x4246), u16(length), new Uint8Array(length).fill(0x5a)]);
}

function extra64(values: readonly number[]): Uint8Array {
  return pack([u16(1), u16(8 * values.length), ...values.map(u64)]);
}

function u16(value: number): Uint8Array {
  return new Uint8Array(Uint16Array.of(value).buffer);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

function pack(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.byteLength;
  }
  return out;
}
