/**
 * The header of a npy file: magic, version, length, then a Python dict literal with descr, fortran_order, shape.
 *
 * Format: numpy/lib/format.py (NEP 1), versions 1 to 3. The literal is parsed by a grammar that knows exactly
 * these three keys; nothing is evaluated. Structured and object arrays are refused by name: the first
 * have no place in a tensor, the second hold pickled code.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { byteLengthOf, type DType } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { type Literal, parseLiteral } from './python-literal.ts';

/** numpy itself refuses to evaluate more than 10,000; ours is only parsed. */
const LONGEST_HEADER = 1 << 16;
const LARGEST_RANK = 64;

/** numpy's code of each element type. `<V2` is how bfloat16 arrays of the ml_dtypes package are written. */
export const NPY_CODES: ReadonlyMap<string, DType> = new Map<string, DType>([
  ['f8', 'float64'],
  ['f4', 'float32'],
  ['f2', 'float16'],
  ['i8', 'int64'],
  ['i4', 'int32'],
  ['i2', 'int16'],
  ['i1', 'int8'],
  ['u8', 'uint64'],
  ['u4', 'uint32'],
  ['u2', 'uint16'],
  ['u1', 'uint8'],
  ['b1', 'bool'],
  ['c8', 'complex64'],
  ['c16', 'complex128'],
]);

export interface NpyHeader {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly fortranOrder: boolean;
  readonly bigEndian: boolean;
  /** Where the data starts. */
  readonly dataOffset: number;
  /** Bytes of data that shape and dtype need. */
  readonly byteLength: number;
}

/** Reads and checks the header; with `partial` the reader may hold less than the data (a prefix). */
export function readNpyHeader(reader: ByteReader, options: { partial?: boolean } = {}): NpyHeader {
  const { text, dataOffset } = readHeaderText(reader);
  const fail = (rule: string, message: string): never => {
    throw new FormatError(`npy.${rule}`, message, { file: reader.name, offset: 10 });
  };
  const fields = parseLiteral(text, (message) => fail('header', message));
  if (!(fields instanceof Map)) return fail('header', 'expected a dict in the header');
  for (const key of fields.keys()) {
    if (key !== 'descr' && key !== 'fortran_order' && key !== 'shape') fail('header', `unexpected key "${key}"`);
  }
  const fortranOrder = fields.get('fortran_order');
  if (typeof fortranOrder !== 'boolean') return fail('header', 'expected fortran_order True or False');
  const { dtype, bigEndian } = parseDescr(fields.get('descr'), fail);
  const shape = parseShape(fields.get('shape'), fail);
  const byteLength = byteLengthOf(dtype, shape);
  if (byteLength === null) return fail('overflow', `shape (${shape}) overflows`);
  const present = reader.byteLength - dataOffset;
  if (!options.partial && present !== byteLength) {
    const rule = present < byteLength ? 'truncated' : 'trailing-bytes';
    fail(rule, `${dtype} (${shape}) needs ${byteLength} bytes of data, the file has ${present}`);
  }
  return { dtype, shape, fortranOrder, bigEndian, dataOffset, byteLength };
}

function readHeaderText(reader: ByteReader): { text: string; dataOffset: number } {
  const fail = (rule: string, message: string): never => {
    throw new FormatError(`npy.${rule}`, message, { file: reader.name, offset: 0 });
  };
  const start = reader.read(0, Math.min(12, reader.byteLength));
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (start.byteLength < 10 || magic.some((byte, i) => start[i] !== byte)) {
    fail('magic', 'does not start like a npy file (\\x93NUMPY), or is cut off');
  }
  const version = start[6]!;
  if (version < 1 || version > 3 || start[7] !== 0) {
    fail('version', `expected format version 1.0, 2.0 or 3.0, got ${version}.${start[7]}`);
  }
  const headerStart = version === 1 ? 10 : 12;
  if (start.byteLength < headerStart) fail('truncated', 'the file ends inside its header');
  const view = dataViewOf(start);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > LONGEST_HEADER)
    fail('header-too-large', `the header claims ${length} bytes, more than ${LONGEST_HEADER}`);
  if (length > reader.byteLength - headerStart) fail('truncated', 'the file ends inside its header');
  const bytes = reader.read(headerStart, length);
  try {
    const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1', { fatal: true }).decode(bytes);
    return { text, dataOffset: headerStart + length };
  } catch {
    return fail('header', 'the header is not UTF-8');
  }
}

type Fail = (rule: string, message: string) => never;

function parseDescr(descr: Literal | undefined, fail: Fail): { dtype: DType; bigEndian: boolean } {
  if (Array.isArray(descr)) {
    const names = descr.map((field) => (Array.isArray(field) ? String(field[0]) : '?'));
    return fail('structured-dtype', `structured arrays are not supported (fields ${names.slice(0, 8).join(', ')})`);
  }
  if (typeof descr !== 'string') return fail('header', 'expected descr to be a text');
  if (descr === '<V2') return { dtype: 'bfloat16', bigEndian: false };
  const order = descr[0] ?? '';
  const code = '<>|='.includes(order) ? descr.slice(1) : descr;
  if (code.startsWith('O')) return fail('object-dtype', 'object arrays hold pickled Python objects and are not read');
  const dtype = NPY_CODES.get(code);
  if (dtype === undefined) return fail('dtype', `dtype '${descr.slice(0, 40)}' is not supported`);
  if (order === '|' && !/1$/.test(code)) return fail('dtype', `dtype '${descr}' lacks its byte order`);
  return { dtype, bigEndian: order === '>' };
}

function parseShape(shape: Literal | undefined, fail: Fail): number[] {
  if (!Array.isArray(shape)) return fail('header', 'expected shape to be a tuple');
  if (shape.length > LARGEST_RANK) return fail('rank', `rank ${shape.length} is above ${LARGEST_RANK}`);
  return shape.map((size) => {
    if (typeof size !== 'number' || size < 0) return fail('header', 'expected shape to hold whole numbers');
    return size;
  });
}
