/**
 * A zip archive opened for reading: entries whole (checked by CRC), by prefix, or as a reader by range.
 *
 * What an entry may unpack to is bounded by the size of the archive plus a constant, so a bomb is refused by
 * its own claim before anything is allocated, and a lying claim by `inflate`.
 */
import { type ByteReader, bytesReader, dataViewOf, rangeReader } from '../byte-reader.ts';
import { crc32 } from '../crc.ts';
import { FormatError } from '../format-error.ts';
import { readExtra64, readZipDirectory, type ZipEntry } from './directory.ts';
import { inflate } from './inflate.ts';

const LOCAL_HEADER = 0x04034b50;
const SIZES_FOLLOW = 8;
const VERIFY_PIECE = 1 << 20;

export interface ZipOptions {
  /**
   * How many bytes one entry may unpack to beyond the size of the archive; 256 MiB unless told.
   */
  readonly inflateAllowance?: number;
}

export interface ZipArchive {
  readonly name: string;
  /** In the order of the directory. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** Where the entry's (compressed) data starts in the archive. Checks the local header. */
  dataOffset(entry: ZipEntry): number;
  /** The whole entry, unpacked, its CRC checked. */
  read(entry: ZipEntry): Uint8Array;
  /** The first `length` bytes of the entry (or all, if it is shorter), CRC not checked. */
  readPrefix(entry: ZipEntry, length: number): Uint8Array;
  /** Random access: a stored entry by range, CRC not checked; a deflated one unpacked at once and checked. */
  open(entry: ZipEntry): ByteReader;
  /** Checks the CRC of a stored entry piece by piece, or unpacks a deflated one. */
  verify(entry: ZipEntry): void;
}

export function openZip(reader: ByteReader, options: ZipOptions = {}): ZipArchive {
  const entries = readZipDirectory(reader);
  const most = reader.byteLength + (options.inflateAllowance ?? 256 * 2 ** 20);
  const dataOffset = (entry: ZipEntry) => checkLocalHeader(reader, entry);
  const compressed = (entry: ZipEntry) =>
    rangeReader(reader, dataOffset(entry), entry.compressedSize, `${reader.name}:${entry.name}`);
  const unpack = (entry: ZipEntry, length: number): Uint8Array => {
    const source = compressed(entry);
    if (entry.method === 'stored') return source.read(0, length);
    if (length > most) {
      const message = `unpacks to ${length} bytes, more than the limit of ${most} for this archive (inflateAllowance)`;
      throw new FormatError('zip.bomb', message, { file: source.name });
    }
    const prefix = length < entry.size;
    return inflate(source, { wrapping: 'deflate', format: 'zip', size: length, prefix });
  };
  const read = (entry: ZipEntry): Uint8Array => {
    const bytes = unpack(entry, entry.size);
    checkCrc(reader, entry, crc32(bytes));
    return bytes;
  };
  return {
    name: reader.name,
    entries,
    dataOffset,
    read,
    readPrefix: (entry, length) => unpack(entry, Math.min(length, entry.size)),
    open: (entry) =>
      entry.method === 'stored' ? compressed(entry) : bytesReader(read(entry), `${reader.name}:${entry.name}`),
    verify(entry) {
      if (entry.method === 'deflate') {
        read(entry);
        return;
      }
      const source = compressed(entry);
      let crc = 0;
      for (let at = 0; at < source.byteLength; at += VERIFY_PIECE) {
        crc = crc32(source.read(at, Math.min(VERIFY_PIECE, source.byteLength - at)), crc);
      }
      checkCrc(reader, entry, crc);
    },
  };
}

function checkCrc(reader: ByteReader, entry: ZipEntry, crc: number): void {
  if (crc === entry.crc32) return;
  const [got, expected] = [crc, entry.crc32].map((value) => value.toString(16).padStart(8, '0'));
  const message = `entry "${entry.name}" is damaged: CRC-32 is ${got}, expected ${expected}`;
  throw new FormatError('zip.crc', message, { file: reader.name, offset: entry.headerOffset });
}

/** The local header must say what the directory says; returns where the data starts. */
function checkLocalHeader(reader: ByteReader, entry: ZipEntry): number {
  const at = entry.headerOffset;
  const fail = (rule: string, message: string): never => {
    throw new FormatError(`zip.${rule}`, `entry "${entry.name}": ${message}`, { file: reader.name, offset: at });
  };
  const view = dataViewOf(reader.read(at, 30));
  if (view.getUint32(0, true) !== LOCAL_HEADER) fail('local-header', 'its local header is missing');
  const nameLength = view.getUint16(26, true);
  const extraLength = view.getUint16(28, true);
  const dataStart = at + 30 + nameLength + extraLength;
  if (dataStart + entry.compressedSize > entry.limit) {
    fail('overlap', `its ${entry.compressedSize} bytes run into what follows it at byte ${entry.limit}`);
  }
  const tail = reader.read(at + 30, nameLength + extraLength);
  const sameName = new TextDecoder().decode(tail.subarray(0, nameLength)) === entry.name;
  const sameMethod = view.getUint16(8, true) === (entry.method === 'stored' ? 0 : 8);
  if (!sameName || !sameMethod) fail('local-header', 'the directory and the local header disagree');
  const narrow = [view.getUint32(22, true), view.getUint32(18, true)];
  const extra = tail.subarray(nameLength);
  const wide = readExtra64(reader, extra, narrow.filter((value) => value === 0xffffffff).length, at);
  const [size, compressedSize] = narrow.map((value) => (value === 0xffffffff ? wide.shift()! : value));
  // With bit 3 the sizes stand behind the data and the local header holds zeros.
  const later = (view.getUint16(6, true) & SIZES_FOLLOW) !== 0;
  const agrees = (local: number, listed: number) => local === listed || (later && local === 0);
  if (!agrees(size!, entry.size) || !agrees(compressedSize!, entry.compressedSize)) {
    fail('lying-size', `the local header claims ${compressedSize} -> ${size} bytes, the directory others`);
  }
  return dataStart;
}
