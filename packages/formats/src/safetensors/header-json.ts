/**
 * A JSON reader for exactly the shape of a safetensors header, over bytes.
 *
 * Not `JSON.parse`: that keeps the last of two equal keys (two readers could then see two different
 * files), gives `__proto__` a meaning, nests without bound and loses the place of an error. Here the
 * grammar is fixed two levels deep, so hostile nesting ends at its first bracket, and every error has its
 * byte.
 */
import { FormatError } from '../format-error.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export class HeaderCursor {
  position = 0;
  private readonly bytes: Uint8Array;
  private readonly file: string;
  private readonly fileOffset: number;

  /** `fileOffset`: where `bytes` start in the file, for errors. */
  constructor(bytes: Uint8Array, file: string, fileOffset: number) {
    this.bytes = bytes;
    this.file = file;
    this.fileOffset = fileOffset;
  }

  fail(rule: string, message: string, at = this.position): never {
    throw new FormatError(`safetensors.${rule}`, message, { file: this.file, offset: this.fileOffset + at });
  }

  /** Consumes one punctuation character after white space. */
  expect(character: string): void {
    if (!this.take(character)) this.fail('json', `expected '${character}' in the header, got ${this.shown()}`);
  }

  /** Consumes `character` if it comes next. */
  take(character: string): boolean {
    this.skipSpace();
    if (this.bytes[this.position] !== character.charCodeAt(0)) return false;
    this.position++;
    return true;
  }

  /** Calls `item` for each element of a comma-separated list up to `close`; the opening is consumed already. */
  list(close: string, item: () => void): void {
    if (this.take(close)) return;
    do item();
    while (this.take(','));
    this.expect(close);
  }

  string(): string {
    this.expect('"');
    const start = this.position;
    let escaped = false;
    for (;;) {
      const byte = this.bytes[this.position];
      if (byte === undefined) this.fail('json', 'the header ends inside a text', start);
      if (byte < 0x20) this.fail('json', 'a text in the header holds a control character');
      this.position++;
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) {
        escaped = true;
        this.position++;
      }
    }
    const raw = this.bytes.subarray(start, this.position - 1);
    try {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
      return escaped ? (JSON.parse(`"${text}"`) as string) : text;
    } catch {
      return this.fail('json', 'a text in the header is not valid UTF-8 or has a broken escape', start);
    }
  }

  /** A whole number from 0 to 2^53 - 1, written without sign, point, exponent or leading zeros. */
  integer(): number {
    this.skipSpace();
    const start = this.position;
    let value = 0;
    for (;;) {
      const digit = (this.bytes[this.position] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      if (value > Number.MAX_SAFE_INTEGER) this.fail('overflow', 'a number in the header is above 2^53 - 1', start);
      this.position++;
    }
    const length = this.position - start;
    if (length === 0) this.fail('json', `expected a whole number in the header, got ${this.shown()}`);
    if (length > 1 && this.bytes[start] === 0x30) this.fail('json', 'a number in the header starts with 0', start);
    return value;
  }

  /** After the closing brace only spaces may follow: they pad the header. */
  end(): void {
    this.skipSpace();
    if (this.position < this.bytes.length) this.fail('json', `the header goes on after its end with ${this.shown()}`);
  }

  private skipSpace(): void {
    for (;;) {
      const byte = this.bytes[this.position];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.position++;
    }
  }

  private shown(): string {
    const byte = this.bytes[this.position];
    if (byte === undefined) return 'the end of the header';
    return byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${byte.toString(16)}`;
  }
}
