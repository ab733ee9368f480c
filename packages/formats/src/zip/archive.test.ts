import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ByteReader, bytesReader, concatBytes, dataViewOf } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { openZip } from './archive.ts';
import { type ZipEntryToWrite, type ZipWriteOptions, zipChunks } from './write.ts';

const write = (entries: ZipEntryToWrite[], options?: ZipWriteOptions) => concatBytes(zipChunks(entries, options));
const open = (bytes: Uint8Array) => openZip(bytesReader(bytes, 'x.zip'));

function readAll(bytes: Uint8Array): [string, Uint8Array][] {
  const zip = open(bytes);
  return [...zip.entries].map(([name, entry]) => {
    zip.verify(entry);
    return [name, zip.read(entry)];
  });
}

const text = (content: string) => new TextEncoder().encode(content);
const two = [
  { name: 'a.txt', bytes: text('hello hello hello hello') },
  { name: 'é/b', bytes: text('second') },
];

test('what is written is read back, in all variants', () => {
  const entries = fc.uniqueArray(fc.record({ name: fc.string({ minLength: 1 }), bytes: fc.uint8Array() }), {
    selector: (entry) => entry.name,
    maxLength: 5,
  });
  const options = fc.record({ method: fc.constantFrom('stored' as const, 'deflate' as const), zip64: fc.boolean() });
  fc.assert(
    fc.property(entries, options, (list, choice) => {
      const bytes = write(list, choice);
      expect(readAll(bytes)).toEqual(list.map((entry) => [entry.name, entry.bytes]));
      const zip = open(bytes);
      for (const { name, bytes: content } of list) {
        const entry = zip.entries.get(name)!;
        expect(zip.readPrefix(entry, 3)).toEqual(content.slice(0, 3));
        const reader: ByteReader = zip.open(entry);
        expect(reader.read(0, reader.byteLength)).toEqual(content);
        if (entry.method === 'stored') {
          const start = zip.dataOffset(entry);
          expect(bytes.slice(start, start + entry.size)).toEqual(content);
        }
      }
    }),
  );
});

/** The bytes of `two` with one number changed; `from` a signature, counted from its `occurrence`. */
function patched(
  signature: number,
  occurrence: number,
  at: number,
  width: 2 | 4,
  value: number,
  options?: ZipWriteOptions,
): Uint8Array {
  const bytes = write(two, options);
  const view = dataViewOf(bytes);
  for (let i = 0; i + 4 <= bytes.byteLength; i++) {
    if (view.getUint32(i, true) !== signature || occurrence-- > 0) continue;
    if (width === 2) view.setUint16(i + at, value, true);
    else view.setUint32(i + at, value, true);
    return bytes;
  }
  throw new Error('no such signature');
}

const LOCAL = 0x04034b50;
const ENTRY = 0x02014b50;
const END = 0x06054b50;
const RECORD_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const deflate = { method: 'deflate' } as const;
const zip64 = { zip64: true };

describe('each rule has its code', () => {
  test.each([
    ['no-end-record', text('no zip at all')],
    ['no-end-record', concatBytes([write(two), text('x')])],
    ['directory', patched(END, 0, 12, 4, 90)],
    ['directory', patched(END, 0, 16, 4, 3)],
    ['directory', patched(ENTRY, 1, 0, 4, 0)],
    ['directory', patched(ENTRY, 1, 28, 2, 5000)],
    ['directory', concatBytes([text('PK'), write(two)])],
    ['several-disks', patched(END, 0, 4, 2, 1)],
    ['several-disks', patched(END, 0, 8, 2, 1)],
    ['zip64', patched(END, 0, 10, 2, 1, zip64)],
    ['zip64', patched(LOCATOR_64, 0, 8, 4, 0x7fffffff, zip64)],
    ['zip64', patched(RECORD_64, 0, 4, 4, 45, zip64)],
    ['zip64', patched(ENTRY, 0, 20, 4, 0xffffffff)],
    ['overflow', patched(LOCATOR_64, 0, 12, 4, 0x7fffffff, zip64)],
    ['encrypted', patched(ENTRY, 0, 8, 2, 1)],
    ['method', patched(ENTRY, 0, 10, 2, 12)],
    ['name', patched(ENTRY, 1, 46, 2, 0xffff)],
    ['crc', patched(ENTRY, 0, 16, 4, 1)],
    ['crc', patched(ENTRY, 0, 16, 4, 1, deflate)],
    ['lying-size', patched(ENTRY, 0, 24, 4, 22)],
    ['lying-size', patched(ENTRY, 0, 24, 4, 22, deflate)],
    ['lying-size', patched(LOCAL, 0, 18, 4, 22)],
    ['overlap', patched(ENTRY, 1, 42, 4, 0)],
    ['overlap', patched(ENTRY, 1, 42, 4, 20)],
    ['overlap', patched(LOCAL, 0, 28, 2, 200)],
    ['local-header', patched(LOCAL, 0, 0, 4, 7)],
    ['local-header', patched(LOCAL, 0, 30, 2, 0x4141)],
    ['local-header', patched(LOCAL, 0, 8, 2, 8)],
  ])('%s (%#)', (rule, bytes) => expect(codeOf(() => readAll(bytes))).toBe(`zip.${rule}`));

  test('a million entries claimed', () => {
    const bytes = patched(RECORD_64, 0, 32, 4, 1 << 20, zip64);
    dataViewOf(bytes).setUint32(bytes.byteLength - 98 + 24, 1 << 20, true);
    expect(codeOf(() => readAll(bytes))).toBe('zip.too-many-entries');
  });

  test('two entries of one name', () => {
    const bytes = write([{ name: 'ab', bytes: text('1') }, { name: 'ac', bytes: text('2') }]); // biome-ignore format: pairs
    const same = bytes.map((byte) => (byte === 0x63 ? 0x62 : byte));
    expect(codeOf(() => readAll(same))).toBe('zip.duplicate-name');
    expect(codeOf(() => write([two[0]!, two[0]!]))).toBe('zip.write-name');
  });

  test('deflate data that is damaged', () => {
    const bytes = write([{ name: 'a', bytes: text('some text that repeats, some text that repeats') }], deflate);
    bytes[31] = 0xff;
    expect(codeOf(() => readAll(bytes))).toBe('zip.deflate');
  });
});

describe('bombs', () => {
  const bomb = write([{ name: 'zeros', bytes: new Uint8Array(1 << 22) }], deflate);

  test('an honest claim above the allowance is refused before unpacking', () => {
    const zip = openZip(bytesReader(bomb), { inflateAllowance: 1 << 20 });
    expect(codeOf(() => zip.read(zip.entries.get('zeros')!))).toBe('zip.bomb');
    expect(zip.readPrefix(zip.entries.get('zeros')!, 100)).toEqual(new Uint8Array(100));
    const generous = openZip(bytesReader(bomb), { inflateAllowance: 1 << 22 });
    expect(generous.read(generous.entries.get('zeros')!).byteLength).toBe(1 << 22);
  });

  test('a claim smaller than the data stops at the claim', () => {
    const lying = bomb.slice();
    const view = dataViewOf(lying);
    for (let i = 0; i + 4 <= lying.byteLength; i++) {
      if (view.getUint32(i, true) === 1 << 22) view.setUint32(i, 1000, true);
    }
    expect(codeOf(() => readAll(lying))).toBe('zip.lying-size');
  });

  test('a claim that deflate cannot reach is refused before anything is allocated', () => {
    const bytes = write([{ name: 'a', bytes: text('abc') }], deflate);
    const view = dataViewOf(bytes);
    for (let i = 22; i + 4 <= bytes.byteLength; i++)
      if (view.getUint32(i, true) === 3) view.setUint32(i, 1 << 27, true);
    expect(codeOf(() => readAll(bytes))).toBe('zip.lying-size');
  });
});

test.each([
  ['stored', {}],
  ['deflated', deflate],
  ['64-bit', zip64],
] as [string, ZipWriteOptions][])(
  // biome-ignore format: pairs
  '%s archives cut at any byte or damaged are read or refused',
  (_, options) => {
    const bytes = write(two, options);
    expectTruncationsRefused(bytes, readAll);
    expectDamageSurvived(bytes, readAll, 1500);
  },
);

test("Python's zipfile reads our archives, and we read its", () => {
  withPython(['zipfile'], (python) => {
    writeFileSync(python.path('stored.zip'), write(two));
    writeFileSync(python.path('deflated.zip'), write(two, { method: 'deflate', zip64: true }));
    const printed = python.run(`
import zipfile, json
print(json.dumps([[[n, z.read(n).decode()] for n in z.namelist()] for z in map(zipfile.ZipFile, ('stored.zip', 'deflated.zip')) if z.testzip() is None]))
class Pipe:
    def __init__(self, f): self.f = f
    def write(self, b): return self.f.write(b)
    def flush(self): self.f.flush()
for name, wrap in (('seekable.zip', lambda f: f), ('streamed.zip', Pipe)):
    with open(name, 'wb') as f, zipfile.ZipFile(wrap(f), 'w', zipfile.ZIP_DEFLATED) as z:
        with z.open('big', 'w', force_zip64=True) as e: e.write(b'x' * 1000)
        z.writestr('é', 'y')
        z.writestr('folder/', '')
`);
    const expected = two.map(({ name, bytes }) => [name, new TextDecoder().decode(bytes)]);
    expect(JSON.parse(printed)).toEqual([expected, expected]);
    for (const name of ['seekable.zip', 'streamed.zip']) {
      const entries = readAll(readFileSync(python.path(name))).map(([key, bytes]) => [
        key,
        new TextDecoder().decode(bytes),
      ]);
      expect(entries).toEqual([['big', 'x'.repeat(1000)], ['é', 'y'], ['folder/', '']]); // biome-ignore format: pairs
    }
  });
});
