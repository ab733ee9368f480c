/**
 * A npz file of one array, written in pieces: for arrays that do not fit in memory. Its checksum stands before the data,
 * so the writer goes back to the start of the file once at the end. Beyond 4 GiB the fields are 64 bits wide.
 *
 *   file: start() | data, each piece told to add() | finish().tail; then finish().head over the start
 */
import { crc32 } from '../crc.ts';
import { byteLengthOf, type DType } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { storedFrame } from '../zip/write.ts';
import { encodeNpyHeader } from './npy.ts';

export class NpzArrayStream {
  /** Bytes of data that are still to come. */
  remaining: number;
  private readonly entry: string;
  private readonly header: Uint8Array;
  private readonly size: number;
  private readonly zip64: boolean;
  private crc: number;

  /** @param options zip64: 64-bit fields even where they are not needed */
  constructor(name: string, dtype: DType, shape: readonly number[], options: { zip64?: boolean } = {}) {
    this.entry = `${name}.npy`;
    const bytes = byteLengthOf(dtype, shape);
    if (bytes === null) {
      throw new FormatError('npy.write-size', `shape (${shape}) is no size of an array`, { file: 'npz writer' });
    }
    this.header = encodeNpyHeader(dtype, shape);
    this.remaining = bytes;
    this.size = this.header.byteLength + this.remaining;
    this.zip64 = options.zip64 ?? false;
    this.crc = crc32(this.header);
  }

  /** What the file begins with, the checksum still missing. */
  start(): Uint8Array {
    const { head } = storedFrame(this.entry, this.size, 0, this.zip64);
    const out = new Uint8Array(head.byteLength + this.header.byteLength);
    out.set(head);
    out.set(this.header, head.byteLength);
    return out;
  }

  /** The next piece of the data, in C order. */
  add(bytes: Uint8Array): void {
    this.remaining -= bytes.byteLength;
    if (this.remaining < 0) throw this.wrongSize(`${-this.remaining} bytes too many`);
    this.crc = crc32(bytes, this.crc);
  }

  /** `head` replaces the beginning of the file, `tail` ends it. */
  finish(): { head: Uint8Array; tail: Uint8Array } {
    if (this.remaining !== 0) throw this.wrongSize(`${this.remaining} bytes too few`);
    return storedFrame(this.entry, this.size, this.crc, this.zip64);
  }

  private wrongSize(what: string): FormatError {
    return new FormatError('npy.write-size', `${this.entry}: the pieces have ${what}`, { file: 'npz writer' });
  }
}
