import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { zlibSync } from 'fflate';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { encodePng, parsePng } from './chunks.ts';
import { readPngText, withPngText } from './text.ts';

const latin = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const header = { type: 'IHDR', data: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0) };
const pixels = { type: 'IDAT', data: zlibSync(Uint8Array.of(0, 128)) };
const end = { type: 'IEND', data: new Uint8Array(0) };
const plain = encodePng([header, pixels, end]);
const withChunk = (type: string, ...data: (string | Uint8Array)[]) =>
  encodePng([
    header,
    { type, data: concatBytes(data.map((part) => (typeof part === 'string' ? latin(part) : part))) },
    pixels,
    end,
  ]);

test('what is written is read back', () => {
  const keyword = fc.stringMatching(/^[!-~]{1,79}$/);
  const text = fc
    .string({ unit: 'grapheme' })
    .filter((value) => !value.includes('\0') && !/\p{Surrogate}/u.test(value));
  fc.assert(
    fc.property(fc.dictionary(keyword, text), (entries) => {
      const bytes = withPngText(plain, entries);
      expect({ ...readPngText(bytes) }).toEqual({ ...entries });
      expect(
        parsePng(bytes, 'x')
          .chunks.map(({ type }) => type)
          .filter((type) => !type.endsWith('EXt') && type !== 'iTXt'),
      ).toEqual(['IHDR', 'IDAT', 'IEND']);
    }),
  );
});

test('Latin-1 goes to tEXt, all else to iTXt; equal keywords are replaced, others and trailing bytes kept', () => {
  const first = withPngText(concatBytes([plain, latin('tail')]), { seed: '7', model: 'émoji', note: '漢' });
  expect(parsePng(first, 'x').chunks.map(({ type }) => type)).toEqual(['IHDR', 'tEXt', 'tEXt', 'iTXt', 'IDAT', 'IEND']);
  const second = withPngText(first, { seed: '8' });
  expect({ ...readPngText(second) }).toEqual({ seed: '8', model: 'émoji', note: '漢' });
  expect(second.slice(-4)).toEqual(latin('tail'));
});

test('compressed texts', () => {
  expect({ ...readPngText(withChunk('zTXt', 'k\0\0', zlibSync(latin('Grüße')))) }).toEqual({ k: 'Grüße' });
  const utf8 = new TextEncoder().encode('漢字');
  expect({ ...readPngText(withChunk('iTXt', 'k\0\x01\0de\0Wort\0', zlibSync(utf8))) }).toEqual({ k: '漢字' });
  expect({ ...readPngText(withChunk('tEXt', '__proto__\0x')) }).toEqual({ ['__proto__']: 'x' });
});

describe('each rule has its code', () => {
  const bomb = zlibSync(new Uint8Array(5 << 20));
  const damaged = plain.slice();
  damaged[20]! ^= 1;
  test.each([
    ['signature', new Uint8Array(0)],
    ['signature', latin('GIF89a..')],
    ['truncated', plain.slice(0, -1)],
    ['truncated', plain.slice(0, 8)],
    ['crc', damaged],
    ['order', encodePng([pixels, end])],
    ['order', encodePng([header, header, end])],
    ['chunk-type', encodePng([header, { type: 'ab1d', data: latin('') }, end])],
    ['keyword', withChunk('tEXt', 'no zero byte')],
    ['keyword', withChunk('tEXt', '\0empty')],
    ['keyword', withChunk('tEXt', `${'k'.repeat(80)}\0long`)],
    ['compression', withChunk('zTXt', 'k\0\x01x')],
    ['compression', withChunk('iTXt', 'k\0\x02\0\0\0x')],
    ['compression', withChunk('iTXt', 'k\0')],
    ['text', withChunk('iTXt', 'k\0\0\0no more zeros')],
    ['text', withChunk('iTXt', 'k\0\0\0\0\0\xff')],
    ['deflate', withChunk('zTXt', 'k\0\0not zlib')],
    ['deflate', withChunk('zTXt', 'k\0\0')],
    ['bomb', withChunk('zTXt', 'k\0\0', bomb)],
    ['bomb', withChunk('iTXt', 'k\0\x01\0\0\0', bomb)],
  ])('%s (%#)', (rule, bytes) => expect(codeOf(() => readPngText(bytes))).toBe(`png.${rule}`));

  test.each([
    ['keyword', { '': 'x' }],
    ['keyword', { ' a': 'x' }],
    ['keyword', { 漢: 'x' }],
    ['keyword', { ['k'.repeat(80)]: 'x' }],
    ['text', { k: 'a\0b' }],
    ['text', { k: '\ud800' }],
  ] as [string, Record<string, string>][])('the writer refuses a wrong %s (%#)', (rule, entries) => {
    expect(codeOf(() => withPngText(plain, entries))).toBe(`png.write-${rule}`);
  });
});

test('files cut at any byte or damaged are read or refused', () => {
  const bytes = encodePng([
    header,
    { type: 'zTXt', data: concatBytes([latin('k\0\0'), zlibSync(latin('text'))]) },
    pixels,
    end,
  ]);
  expectTruncationsRefused(bytes, readPngText);
  expectDamageSurvived(bytes, readPngText, 1000);
  // The same with checksums made right again, so that the damage reaches the texts.
  const { data } = parsePng(bytes, 'x').chunks[1]!;
  for (const type of ['tEXt', 'zTXt', 'iTXt']) {
    expectDamageSurvived(data, (damaged) => readPngText(encodePng([header, { type, data: damaged }, end])), 500);
  }
});

test('Pillow reads our texts', () => {
  withPython(['PIL'], (python) => {
    writeFileSync(python.path('x.png'), withPngText(plain, { seed: '7', model: 'é', note: '漢' }));
    const printed = python.run(`
import json
from PIL import Image
image = Image.open('x.png')
image.load()
print(json.dumps([image.getpixel((0, 0)), image.text]))
`);
    expect(JSON.parse(printed)).toEqual([128, { seed: '7', model: 'é', note: '漢' }]);
  });
});
