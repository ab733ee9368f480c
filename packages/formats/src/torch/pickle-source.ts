/**
 * The byte stream under the pickle machine: a window on a reader, refilled as it moves, so that a legacy
 * checkpoint of many gigabytes is not loaded for the few kilobytes of pickle in front.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';

const WINDOW = 1 << 16;
/** Numbers and names on lines of their own (protocols 0 and 1) are short. */
const LONGEST_LINE = 4096;

export class PickleSource {
  private readonly reader: ByteReader;
  private window: Uint8Array = new Uint8Array(0);
  private windowStart: number;
  private at = 0;

  constructor(reader: ByteReader, start = 0) {
    this.reader = reader;
    this.windowStart = start;
  }

  /** Offset of the next byte in the reader. */
  get position(): number {
    return this.windowStart + this.at;
  }

  get remaining(): number {
    return this.reader.byteLength - this.position;
  }

  fail(rule: string, message: string, offset = this.position): never {
    throw new FormatError(`pickle.${rule}`, message, { file: this.reader.name, offset });
  }

  byte(): number {
    if (this.at === this.window.byteLength) this.refill(1);
    return this.window[this.at++]!;
  }

  /** The next `length` bytes; a view that lives until the next call. */
  bytes(length: number): Uint8Array {
    if (length > this.remaining) {
      this.fail('truncated', `expected ${length} more bytes, the file ends after ${this.remaining}: cut off`);
    }
    if (length > WINDOW) {
      const bytes = this.reader.read(this.position, length);
      this.windowStart = this.position + length;
      this.window = new Uint8Array(0);
      this.at = 0;
      return bytes;
    }
    if (this.at + length > this.window.byteLength) this.refill(length);
    this.at += length;
    return this.window.subarray(this.at - length, this.at);
  }

  u16(): number {
    return dataViewOf(this.bytes(2)).getUint16(0, true);
  }

  i32(): number {
    return dataViewOf(this.bytes(4)).getInt32(0, true);
  }

  u32(): number {
    return dataViewOf(this.bytes(4)).getUint32(0, true);
  }

  /** A 64-bit length; anything above what is left is refused by `bytes`. */
  u64(): number {
    return Number(dataViewOf(this.bytes(8)).getBigUint64(0, true));
  }

  /** Big-endian, as pickles have it. */
  f64(): number {
    return dataViewOf(this.bytes(8)).getFloat64(0, false);
  }

  text(length: number): string {
    const start = this.position;
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.bytes(length));
    } catch (error) {
      if (error instanceof FormatError) throw error;
      return this.fail('text', 'a text is not valid UTF-8', start);
    }
  }

  /** Latin-1 text up to a line feed, which is consumed. */
  line(): string {
    const start = this.position;
    let text = '';
    for (;;) {
      const byte = this.byte();
      if (byte === 0x0a) return text;
      text += String.fromCharCode(byte);
      if (text.length > LONGEST_LINE) this.fail('line-too-long', `a line is longer than ${LONGEST_LINE} bytes`, start);
    }
  }

  private refill(needed: number): void {
    const start = this.position;
    const length = Math.min(WINDOW, this.reader.byteLength - start);
    if (length < needed) this.fail('truncated', 'the file ends inside its pickle: cut off', this.reader.byteLength);
    this.window = this.reader.read(start, length);
    this.windowStart = start;
    this.at = 0;
  }
}
