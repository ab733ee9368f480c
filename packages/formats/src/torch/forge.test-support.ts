/**
 * Makes PyTorch checkpoints of both layouts for tests, opcode by opcode, so that hostile ones can be made too.
 * Real files written by PyTorch are read in `checkpoint.test.ts` (where PyTorch is at hand) and `golden.test.ts`.
 */
import { concatBytes } from '../byte-reader.ts';
import { byteSizeOf, type DType } from '../dtype.ts';
import { zipChunks } from '../zip/write.ts';

/** Texts are Latin-1: one character is one byte. */
export type Piece = string | Uint8Array | readonly Piece[];

export function bytesOfPieces(...pieces: readonly Piece[]): Uint8Array {
  return concatBytes(
    pieces.map((piece) => {
      if (typeof piece === 'string') return Uint8Array.from(piece, (character) => character.charCodeAt(0));
      return piece instanceof Uint8Array ? piece : bytesOfPieces(...(piece as readonly Piece[]));
    }),
  );
}

export function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

export function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

/** A plain value as opcodes: numbers, texts, null, booleans, arrays as tuples, Maps as dicts. */
export function pickled(value: unknown): Piece {
  if (value === null) return 'N';
  if (typeof value === 'boolean') return value ? '\x88' : '\x89';
  if (typeof value === 'string') {
    const utf8 = new TextEncoder().encode(value);
    return ['X', u32(utf8.byteLength), utf8];
  }
  if (typeof value === 'number') {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) return ['J', u32(value)];
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value);
    return ['G', bytes];
  }
  if (typeof value === 'bigint') {
    const bytes = new Uint8Array(BigInt64Array.of(value, value < 0n ? -1n : 0n).buffer);
    return ['\x8a\x10', bytes];
  }
  if (Array.isArray(value)) return ['(', value.map(pickled), 't'];
  if (value instanceof Map) return ['}(', [...value].map(([key, item]) => [pickled(key), pickled(item)]), 'u'];
  if (value instanceof Raw) return value.piece;
  throw new Error(`cannot pickle ${String(value)}`);
}

/** Opcodes inside a value for `pickled`. */
export class Raw {
  readonly piece: Piece;
  constructor(...piece: Piece[]) {
    this.piece = piece;
  }
}

export function globalName(name: string): Piece {
  const dot = name.lastIndexOf('.');
  return `c${name.slice(0, dot)}\n${name.slice(dot + 1)}\n`;
}

/** A call of a global with arguments. */
export function call(name: string, ...args: unknown[]): Raw {
  return new Raw(globalName(name), pickled(args), 'R');
}

const CLASSES: Partial<Record<DType, string>> = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
  complex64: 'ComplexFloatStorage',
  complex128: 'ComplexDoubleStorage',
};

export const STORAGE_DTYPES = Object.keys(CLASSES) as DType[];

export interface ForgedTensor {
  dtype: DType;
  key: string;
  /** Elements in the storage. */
  held: number;
  shape: number[];
  strides: number[];
  offset?: number;
}

/** The id of a storage as PyTorch writes it; `legacy` adds the view, which is None. */
export function storageId(dtype: DType, key: string, held: number, legacy = false): Raw {
  const id = ['storage', new Raw(globalName(`torch.${CLASSES[dtype]}`)), key, 'cpu', held];
  return new Raw(pickled(legacy ? [...id, null] : id), 'Q');
}

export function tensorValue(tensor: ForgedTensor, legacy = false): Raw {
  const storage = storageId(tensor.dtype, tensor.key, tensor.held, legacy);
  const hooks = call('collections.OrderedDict');
  return call(
    'torch._utils._rebuild_tensor_v2',
    storage,
    tensor.offset ?? 0,
    tensor.shape,
    tensor.strides,
    false,
    hooks,
  );
}

/** A checkpoint in the zip layout; `storages` by key, `extra` entries by their whole name. */
export function zipCheckpoint(
  pickle: Piece,
  storages: Record<string, Uint8Array> = {},
  extra: Record<string, string> = {},
): Uint8Array {
  const texts = Object.entries({ 'x/byteorder': 'little', ...extra });
  return concatBytes(
    zipChunks([
      { name: 'x/data.pkl', bytes: bytesOfPieces(pickle) },
      ...texts.map(([name, text]) => ({ name, bytes: bytesOfPieces(text) })),
      ...Object.entries(storages).map(([key, bytes]) => ({ name: `x/data/${key}`, bytes })),
    ]),
  );
}

/** One object as a whole pickle of protocol 2. */
export function protocol2(value: unknown): Piece {
  return ['\x80\x02', pickled(value), '.'];
}

/** A checkpoint in the legacy layout; `storages` by key, with their element types. */
export function legacyCheckpoint(pickle: Piece, storages: Record<string, [DType, Uint8Array]> = {}): Uint8Array {
  const machine = new Map<string, unknown>([['protocol_version', 1001], ['little_endian', true]]); // biome-ignore format: pairs
  return bytesOfPieces(
    ['\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.', protocol2(1001), protocol2(machine), pickle],
    ['\x80\x02](', Object.keys(storages).map(pickled), 'e.'],
    Object.values(storages).map(([dtype, bytes]) => [u64(bytes.byteLength / byteSizeOf(dtype)), bytes]),
  );
}
