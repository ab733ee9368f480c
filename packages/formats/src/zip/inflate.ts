/**
 * Deflate streams unpacked into a buffer whose size is fixed before the first byte.
 *
 * A few bytes of deflate can stand for a thousand times as many, so nothing here grows on demand: the
 * caller states the size (checked against its own limit), the compressed bytes go in small pieces, and the
 * first byte above the stated size ends the work.
 */
import { Inflate, Unzlib } from 'fflate';
import type { ByteReader } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';

/** Deflate expands 1032-fold at most, so one piece of this size unpacks to 16 MiB at most. */
const PIECE = 1 << 14;
/** Highest ratio that deflate can reach; a larger claim is a lie whatever the data. */
const LARGEST_RATIO = 1032;

export interface InflateJob {
  /** `deflate` as in zip, or `zlib` (with its header) as in PNG. */
  readonly wrapping: 'deflate' | 'zlib';
  /** Bytes to unpack. */
  readonly size: number;
  /** With `prefix`, `size` bytes are enough; otherwise the stream must end exactly there. */
  readonly prefix?: boolean;
  /** Error code prefix, as `zip` or `png`. */
  readonly format: string;
}

/** Unpacks `source` into exactly `size` bytes. */
export function inflate(source: ByteReader, job: InflateJob): Uint8Array {
  const fail = (rule: string, message: string, cause?: unknown): never => {
    throw new FormatError(`${job.format}.${rule}`, message, { file: source.name, cause });
  };
  if (job.size > (source.byteLength + 1) * LARGEST_RATIO) {
    fail('lying-size', `${source.byteLength} compressed bytes cannot unpack to ${job.size} bytes`);
  }
  const out = new Uint8Array(job.size);
  let filled = 0;
  const receive = (chunk: Uint8Array) => {
    const room = job.size - filled;
    if (chunk.byteLength > room && !job.prefix) {
      fail('lying-size', `the compressed data unpacks to more than the ${job.size} bytes claimed`);
    }
    const used = chunk.byteLength > room ? chunk.subarray(0, room) : chunk;
    out.set(used, filled);
    filled += used.byteLength;
  };
  const stream = job.wrapping === 'zlib' ? new Unzlib(receive) : new Inflate(receive);
  try {
    for (let at = 0; at < source.byteLength || at === 0; at += PIECE) {
      const length = Math.min(PIECE, source.byteLength - at);
      stream.push(source.read(at, length), at + length === source.byteLength);
      if (job.prefix && filled === job.size) return out;
    }
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    fail('deflate', `the compressed data is damaged (${cause instanceof Error ? cause.message : cause})`, cause);
  }
  if (filled !== job.size)
    fail('lying-size', `the compressed data unpacks to ${filled} bytes, not the ${job.size} claimed`);
  return out;
}
