/**
 * Texts inside PNG files: what made a picture (seed, model, settings) travels with it.
 *
 * Format: PNG specification (third edition), 11.3.3: tEXt (Latin-1), zTXt (compressed Latin-1), iTXt (UTF-8).
 * Written are tEXt where Latin-1 suffices and iTXt otherwise. Compressed texts unpack within a limit.
 */
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';
import { inflateWithin } from '../zip/inflate.ts';
import { encodePng, type PngChunk, parsePng } from './chunks.ts';

/** All compressed texts of one file together. */
const LARGEST_TEXT = 1 << 22;

/** The texts by keyword; of several with one keyword the last counts. The object has no prototype. */
export function readPngText(bytes: Uint8Array, file = 'png'): Record<string, string> {
  const texts: Record<string, string> = Object.create(null);
  let room = LARGEST_TEXT;
  for (const chunk of parsePng(bytes, file).chunks) {
    if (!isText(chunk.type)) continue;
    const { keyword, text, unpacked } = parseText(chunk, file, room);
    texts[keyword] = text;
    room -= unpacked;
  }
  return texts;
}

/** The same picture with these texts; texts of the same keyword are replaced, others kept. */
export function withPngText(bytes: Uint8Array, entries: Readonly<Record<string, string>>, file = 'png'): Uint8Array {
  const { chunks, rest } = parsePng(bytes, file);
  const written = Object.entries(entries).map(([keyword, text]) => encodeText(keyword, text, file));
  const kept = chunks.filter(
    (chunk) => !(isText(chunk.type) && Object.hasOwn(entries, splitKeyword(chunk, file).keyword)),
  );
  return encodePng([kept[0]!, ...written, ...kept.slice(1)], rest);
}

function isText(type: string): boolean {
  return type === 'tEXt' || type === 'zTXt' || type === 'iTXt';
}

/** The keyword, and where the data behind its zero byte starts. */
function splitKeyword(chunk: PngChunk, file: string): { keyword: string; next: number } {
  const end = chunk.data.indexOf(0);
  const keyword = latin1(chunk.data.subarray(0, Math.min(80, Math.max(0, end))));
  if (end < 1 || end > 79) fail(chunk, file, 'keyword', 'expected a keyword of 1 to 79 characters');
  return { keyword, next: end + 1 };
}

function parseText(chunk: PngChunk, file: string, room: number): { keyword: string; text: string; unpacked: number } {
  const { keyword, next } = splitKeyword(chunk, file);
  const { data } = chunk;
  if (chunk.type === 'tEXt') return { keyword, text: latin1(data.subarray(next)), unpacked: 0 };
  const unpack = (start: number): Uint8Array => {
    const source = bytesReader(data.subarray(start), `${file}:${keyword}`);
    return inflateWithin(source, { wrapping: 'zlib', format: 'png', most: room });
  };
  if (chunk.type === 'zTXt') {
    if (data[next] !== 0) fail(chunk, file, 'compression', `compression method ${data[next]} of "${keyword}"`);
    const raw = unpack(next + 1);
    return { keyword, text: latin1(raw), unpacked: raw.byteLength };
  }
  const [flag, method] = [data[next], data[next + 1]];
  if ((flag !== 0 && flag !== 1) || method !== 0) fail(chunk, file, 'compression', `flags of the text "${keyword}"`);
  const languageEnd = data.indexOf(0, next + 2);
  const start = languageEnd < 0 ? 0 : data.indexOf(0, languageEnd + 1) + 1;
  if (start === 0) fail(chunk, file, 'text', `the text "${keyword}" lacks its language fields`);
  const raw = flag === 1 ? unpack(start) : data.subarray(start);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
    return { keyword, text, unpacked: flag === 1 ? raw.byteLength : 0 };
  } catch {
    return fail(chunk, file, 'text', `the text "${keyword}" is not valid UTF-8`);
  }
}

function encodeText(keyword: string, text: string, file: string): { type: string; data: Uint8Array } {
  const printable =
    /^[\x20-\x7e\xa1-\xff]{1,79}$/.test(keyword) && keyword.trim() === keyword && !keyword.includes('  ');
  if (!printable) {
    const message = `expected a keyword of 1 to 79 Latin-1 characters without outer or double spaces, got "${keyword}"`;
    throw new FormatError('png.write-keyword', message, { file });
  }
  if (text.includes('\0') || /\p{Surrogate}/u.test(text)) {
    throw new FormatError('png.write-text', `the text "${keyword}" holds a zero or half a surrogate pair`, { file });
  }
  const head = Uint8Array.from([...keyword, '\0'], (character) => character.charCodeAt(0));
  if (/^[\n\x20-\x7e\xa0-\xff]*$/.test(text)) {
    return { type: 'tEXt', data: concatBytes([head, Uint8Array.from(text, (character) => character.charCodeAt(0))]) };
  }
  // Not compressed, no language, no translated keyword.
  return { type: 'iTXt', data: concatBytes([head, new Uint8Array(4), new TextEncoder().encode(text)]) };
}

/** Not TextDecoder: its "latin1" is windows-1252. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.byteLength; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

function fail(chunk: PngChunk, file: string, rule: string, message: string): never {
  throw new FormatError(`png.${rule}`, message, { file, offset: chunk.offset });
}
