/**
 * safetensors: an 8-byte little-endian length N, N bytes of JSON, then the bytes of all tensors.
 *
 * Format: https://github.com/huggingface/safetensors (README, "Format"). Only the header is read here;
 * tensors are read by range or memory-mapped by the caller. Stricter than the reference in that unknown
 * fields of an entry are refused and rank is bounded; equal in the rest: header of at most 100 MB, unique
 * names, the data covered without holes or overlaps, every size equal to shape times element size.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { byteLengthOf, type DType } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { HeaderCursor } from './header-json.ts';

/** The limit of the reference implementation. */
const LARGEST_HEADER = 100_000_000;
/** numpy's limit; torch has about the same. */
const LARGEST_RANK = 64;

/** File name of each element type. complex128 has none. */
export const SAFETENSORS_NAMES: ReadonlyMap<string, DType> = new Map<string, DType>([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['F8_E4M3', 'float8_e4m3fn'],
  ['F8_E5M2', 'float8_e5m2'],
  ['I64', 'int64'],
  ['I32', 'int32'],
  ['I16', 'int16'],
  ['I8', 'int8'],
  ['U64', 'uint64'],
  ['U32', 'uint32'],
  ['U16', 'uint16'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
  ['C64', 'complex64'],
]);

export interface TensorEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Absolute byte offset in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly metadata: Record<string, string>;
  /** In the order of the header, which is the order in which the tensors were given to the writer. */
  readonly tensors: Map<string, TensorEntry>;
}

/** Reads and checks the header; touches no tensor data. */
export function readSafetensorsHeader(reader: ByteReader): SafetensorsHeader {
  const headerLength = readHeaderLength(reader);
  const dataStart = 8 + headerLength;
  const cursor = new HeaderCursor(reader.read(8, headerLength), reader.name, 8);
  const metadata: Record<string, string> = Object.create(null);
  const tensors = new Map<string, TensorEntry>();
  let metadataSeen = false;
  cursor.expect('{');
  cursor.list('}', () => {
    const at = cursor.position;
    const name = cursor.string();
    cursor.expect(':');
    if (name === '__metadata__') {
      if (metadataSeen) cursor.fail('duplicate-name', 'the header holds "__metadata__" twice', at);
      metadataSeen = true;
      readMetadata(cursor, metadata);
    } else {
      if (tensors.has(name)) cursor.fail('duplicate-name', `the header holds the tensor "${shorten(name)}" twice`, at);
      tensors.set(name, readEntry(cursor, name, dataStart));
    }
  });
  cursor.end();
  checkCoverage(reader, tensors, dataStart);
  return { metadata, tensors };
}

/** The bytes of one tensor, C order, little-endian. May be a view on the reader's memory. */
export function readTensorBytes(reader: ByteReader, entry: TensorEntry): Uint8Array {
  return reader.read(entry.offset, entry.byteLength);
}

function readHeaderLength(reader: ByteReader): number {
  const place = { file: reader.name, offset: 0 };
  if (reader.byteLength < 8) {
    throw new FormatError('safetensors.too-short', `expected at least 8 bytes, got ${reader.byteLength}`, place);
  }
  const length = dataViewOf(reader.read(0, 8)).getBigUint64(0, true);
  if (length > BigInt(LARGEST_HEADER)) {
    const message = `the header claims ${length} bytes, more than ${LARGEST_HEADER}: not a safetensors file?`;
    throw new FormatError('safetensors.header-too-large', message, place);
  }
  if (Number(length) > reader.byteLength - 8) {
    const message = `the header claims ${length} bytes, but only ${reader.byteLength - 8} follow: the file is cut off`;
    throw new FormatError('safetensors.header-truncated', message, place);
  }
  return Number(length);
}

function readMetadata(cursor: HeaderCursor, metadata: Record<string, string>): void {
  cursor.expect('{');
  cursor.list('}', () => {
    const at = cursor.position;
    const key = cursor.string();
    if (Object.hasOwn(metadata, key)) cursor.fail('duplicate-name', `metadata holds "${shorten(key)}" twice`, at);
    cursor.expect(':');
    metadata[key] = cursor.string();
  });
}

function readEntry(cursor: HeaderCursor, name: string, dataStart: number): TensorEntry {
  const at = cursor.position;
  const found: { dtype?: DType; shape?: number[]; range?: number[] } = {};
  cursor.expect('{');
  cursor.list('}', () => {
    const fieldAt = cursor.position;
    const field = cursor.string();
    cursor.expect(':');
    if (field === 'dtype' && !found.dtype) found.dtype = readDType(cursor, name);
    else if (field === 'shape' && !found.shape) found.shape = readIntegers(cursor, LARGEST_RANK, 'rank', name);
    else if (field === 'data_offsets' && !found.range) found.range = readIntegers(cursor, 2, 'offsets', name);
    else
      cursor.fail('unknown-field', `tensor "${shorten(name)}": field "${shorten(field)}" is unknown or twice`, fieldAt);
  });
  const { dtype, shape, range } = found;
  if (dtype === undefined || shape === undefined || range === undefined) {
    return cursor.fail('missing-field', `tensor "${shorten(name)}" needs dtype, shape and data_offsets`, at);
  }
  const [begin, end] = range;
  if (begin === undefined || end === undefined || begin > end) {
    return cursor.fail('offsets', `tensor "${shorten(name)}": expected data_offsets [begin, end], got [${range}]`, at);
  }
  const needed = byteLengthOf(dtype, shape);
  if (needed === null) return cursor.fail('overflow', `tensor "${shorten(name)}": shape [${shape}] overflows`, at);
  if (needed !== end - begin) {
    const message = `tensor "${shorten(name)}": ${dtype} [${shape}] needs ${needed} bytes, its offsets hold ${end - begin}`;
    return cursor.fail('size', message, at);
  }
  return { dtype, shape, offset: dataStart + begin, byteLength: needed };
}

function readDType(cursor: HeaderCursor, name: string): DType {
  const at = cursor.position;
  const text = cursor.string();
  const dtype = SAFETENSORS_NAMES.get(text);
  if (dtype !== undefined) return dtype;
  return cursor.fail('dtype', `tensor "${shorten(name)}": dtype "${shorten(text)}" is not supported`, at);
}

function readIntegers(cursor: HeaderCursor, most: number, rule: string, name: string): number[] {
  const values: number[] = [];
  cursor.expect('[');
  cursor.list(']', () => {
    if (values.length === most) cursor.fail(rule, `tensor "${shorten(name)}": more than ${most} numbers in a list`);
    values.push(cursor.integer());
  });
  return values;
}

/** The data section must be covered from its first to its last byte, each byte by one tensor. */
function checkCoverage(reader: ByteReader, tensors: Map<string, TensorEntry>, dataStart: number): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const [name, entry] of sorted) {
    const place = { file: reader.name, offset: entry.offset };
    if (entry.offset > end) {
      const message = `${entry.offset - end} bytes before tensor "${shorten(name)}" belong to no tensor`;
      throw new FormatError('safetensors.hole', message, place);
    }
    if (entry.offset < end) {
      const message = `tensor "${shorten(name)}" overlaps the one before it by ${end - entry.offset} bytes`;
      throw new FormatError('safetensors.overlap', message, place);
    }
    end += entry.byteLength;
  }
  if (end > reader.byteLength) {
    const message = `the tensors need ${end} bytes, the file has ${reader.byteLength}: it is cut off`;
    throw new FormatError('safetensors.data-truncated', message, { file: reader.name, offset: reader.byteLength });
  }
  if (end < reader.byteLength) {
    const message = `${reader.byteLength - end} bytes after the last tensor belong to no tensor`;
    throw new FormatError('safetensors.trailing-bytes', message, { file: reader.name, offset: end });
  }
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
