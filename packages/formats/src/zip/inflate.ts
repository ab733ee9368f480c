/**
 * Deflate streams unpacked within a size that is fixed before the first byte.
 *
 * A few bytes of deflate can stand for a thousand times as many, so nothing here grows on demand: the
 * caller states the size or the limit, the compressed bytes go in small pieces, and the first byte above
 * it ends the work.
 */
import { Inflate, Unzlib } from 'fflate';
import { type ByteReader, concatBytes } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';

/** Deflate expands 1032-fold at most, so one piece of this size unpacks to 16 MiB at most. */
const PIECE = 1 << 14;
/** Highest ratio that deflate can reach; a larger claim is a lie whatever the data. */
const LARGEST_RATIO = 1032;

interface Stream {
  /** `deflate` as in zip, or `zlib` (with its header) as in PNG. */
  readonly wrapping: 'deflate' | 'zlib';
  /** Error code prefix, as `zip` or `png`. */
  readonly format: string;
}

/** Unpacks to exactly `size` bytes; with `prefix` to the first `size` bytes of a longer stream. */
export function inflate(source: ByteReader, job: Stream & { size: number; prefix?: boolean }): Uint8Array {
  if (job.size > (source.byteLength + 1) * LARGEST_RATIO) {
    fail(source, job, 'lying-size', `${source.byteLength} compressed bytes cannot unpack to ${job.size} bytes`);
  }
  const out = new Uint8Array(job.size);
  let filled = 0;
  unpack(
    source,
    job,
    (chunk) => {
      const room = job.size - filled;
      if (chunk.byteLength > room && !job.prefix) {
        fail(source, job, 'lying-size', `the compressed data unpacks to more than the ${job.size} bytes claimed`);
      }
      const used = chunk.byteLength > room ? chunk.subarray(0, room) : chunk;
      out.set(used, filled);
      filled += used.byteLength;
      return job.prefix !== true || filled < job.size;
    },
    () => filled === job.size,
  );
  if (filled === job.size) return out;
  return fail(source, job, 'lying-size', `the compressed data unpacks to ${filled} bytes, not the ${job.size} claimed`);
}

/** Unpacks a stream of unknown size, which may be `most` bytes. */
export function inflateWithin(source: ByteReader, job: Stream & { most: number }): Uint8Array {
  const chunks: Uint8Array[] = [];
  let filled = 0;
  unpack(source, job, (chunk) => {
    filled += chunk.byteLength;
    if (filled > job.most) fail(source, job, 'bomb', `the compressed data unpacks to more than ${job.most} bytes`);
    chunks.push(chunk);
    return true;
  });
  return concatBytes(chunks);
}

/** Pieces without output after which a stream counts as ended. */
const SILENT_PIECES = 8;

/**
 * Feeds the stream piece by piece until `receive` has enough and returns false.
 *
 * @param isWhole whether all that was promised is there: then the stream must end, since fflate keeps what follows its end
 *   and copies it anew with every piece
 */
function unpack(
  source: ByteReader,
  job: Stream,
  receive: (chunk: Uint8Array) => boolean,
  isWhole: () => boolean = () => false,
): void {
  let more = true;
  let silent = 0;
  const onData = (chunk: Uint8Array) => {
    if (chunk.byteLength > 0) silent = 0;
    if (more) more = receive(chunk);
  };
  const stream = job.wrapping === 'zlib' ? new Unzlib(onData) : new Inflate(onData);
  try {
    let at = 0;
    do {
      const length = Math.min(PIECE, source.byteLength - at);
      stream.push(source.read(at, length), at + length === source.byteLength);
      at += length;
      // Deflate gives something for every few hundred bytes: this stream has ended, and fflate copies all that follows anew with every piece.
      if (++silent > SILENT_PIECES) {
        fail(
          source,
          job,
          'trailing',
          `the compressed data ends early: nothing came of ${silent * PIECE} bytes after it`,
        );
      }
      if (more && isWhole() && source.byteLength - at > PIECE) {
        fail(source, job, 'trailing', `${source.byteLength - at} bytes follow the end of the compressed data`);
      }
    } while (more && at < source.byteLength);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    fail(
      source,
      job,
      'deflate',
      `the compressed data is damaged (${cause instanceof Error ? cause.message : cause})`,
      cause,
    );
  }
}

function fail(source: ByteReader, job: Stream, rule: string, message: string, cause?: unknown): never {
  throw new FormatError(`${job.format}.${rule}`, message, { file: source.name, cause });
}
