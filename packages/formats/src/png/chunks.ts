/**
 * A PNG file as its chunks: signature, then length, type, data and CRC of each, from IHDR to IEND.
 *
 * Format: PNG specification (third edition), section 5. Pixels are never decoded here. Bytes after IEND,
 * which some programs leave, are kept aside and not looked at.
 */
import { concatBytes, dataViewOf } from '../byte-reader.ts';
import { crc32 } from '../crc.ts';
import { FormatError } from '../format-error.ts';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array;
  /** Where the chunk starts in the file. */
  readonly offset: number;
}

export interface PngChunks {
  readonly chunks: readonly PngChunk[];
  /** What follows IEND. */
  readonly rest: Uint8Array;
}

/** Splits a file into its chunks and checks every CRC; `data` are views. */
export function parsePng(bytes: Uint8Array, file: string): PngChunks {
  if (bytes.byteLength < 8 || SIGNATURE.some((byte, i) => bytes[i] !== byte)) {
    throw new FormatError('png.signature', 'does not start like a PNG file, or is cut off', { file, offset: 0 });
  }
  const view = dataViewOf(bytes);
  const chunks: PngChunk[] = [];
  let at = 8;
  for (;;) {
    const fail = (rule: string, message: string): never => {
      throw new FormatError(`png.${rule}`, message, { file, offset: at });
    };
    const left = bytes.byteLength - at;
    if (left < 12) fail('truncated', 'the file ends before its IEND chunk: cut off');
    const length = view.getUint32(at, false);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) fail('chunk-type', 'the type of a chunk is not four letters');
    if (length > left - 12) fail('truncated', `a ${type} chunk of ${length} bytes, but only ${left - 12} follow`);
    if (view.getUint32(at + 8 + length, false) !== crc32(bytes.subarray(at + 4, at + 8 + length))) {
      fail('crc', `the ${type} chunk is damaged: its CRC-32 does not match`);
    }
    if ((type === 'IHDR') !== (chunks.length === 0)) fail('order', `expected IHDR first and once, got ${type}`);
    chunks.push({ type, data: bytes.subarray(at + 8, at + 8 + length), offset: at });
    at += 12 + length;
    if (type === 'IEND') return { chunks, rest: bytes.subarray(at) };
  }
}

/** The file of these chunks. */
export function encodePng(
  chunks: Iterable<{ type: string; data: Uint8Array }>,
  rest = new Uint8Array(0) as Uint8Array,
): Uint8Array {
  const pieces: Uint8Array[] = [Uint8Array.from(SIGNATURE)];
  for (const { type, data } of chunks) {
    const chunk = new Uint8Array(12 + data.byteLength);
    const view = dataViewOf(chunk);
    view.setUint32(0, data.byteLength, false);
    for (let i = 0; i < 4; i++) chunk[4 + i] = type.charCodeAt(i);
    chunk.set(data, 8);
    view.setUint32(8 + data.byteLength, crc32(chunk.subarray(4, 8 + data.byteLength)), false);
    pieces.push(chunk);
  }
  return concatBytes([...pieces, rest]);
}
