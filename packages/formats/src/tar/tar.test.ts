import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bytesReader } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { type TarEntry, tarEntries } from './read.ts';
import { member, paxRecord, sealed, tar } from './tar.test-support.ts';

const list = (bytes: Uint8Array): TarEntry[] => [...tarEntries(bytesReader(bytes))];
const textOf = (bytes: Uint8Array, { offset, size }: TarEntry): string =>
  Buffer.from(bytes.subarray(offset, offset + size)).toString();
const LONG = `${'folder/'.repeat(40)}bild-ü.png`;

test('files with their places; folders and links are told apart', () => {
  const bytes = tar([
    { name: 'a/', type: '5' },
    { name: 'a/1.txt', bytes: 'one' },
    { name: 'link', type: '2' },
    { name: 'a/2.txt', bytes: 'x'.repeat(513) },
    { name: 'old-folder/', type: '\0' },
  ]);
  const entries = list(bytes);
  expect(entries.map(({ name, kind, size }) => [name, kind, size])).toEqual([
    ['a/', 'folder', 0],
    ['a/1.txt', 'file', 3],
    ['link', 'other', 0],
    ['a/2.txt', 'file', 513],
    ['old-folder/', 'folder', 0],
  ]);
  expect(textOf(bytes, entries[1]!)).toBe('one');
  expect(textOf(bytes, entries[3]!)).toBe('x'.repeat(513));
});

test('long names: ustar prefix, GNU, pax; each counts for one member', () => {
  const prefixed = member({ name: 'end.png', bytes: '1' });
  prefixed[0]!.write('start/of/path', 345);
  sealed(prefixed[0]!);
  const bytes = Buffer.concat([
    ...prefixed,
    ...member({ name: '././@LongLink', bytes: `${LONG}\0`, type: 'L' }),
    ...member({ name: LONG.slice(0, 90), bytes: '22' }),
    ...member({ name: 'pax', bytes: paxRecord('mtime', '1.5') + paxRecord('path', LONG), type: 'x' }),
    ...member({ name: 'short', bytes: '333' }),
    ...member({ name: 'plain.png', bytes: '4444' }),
    Buffer.alloc(512),
  ]);
  expect(list(bytes).map(({ name, size }) => [name, size])).toEqual([
    ['start/of/path/end.png', 1],
    [LONG, 2],
    [LONG, 3],
    ['plain.png', 4],
  ]);
});

test('numbers in base 256', () => {
  const blocks = member({ name: 'a', bytes: 'abc' });
  blocks[0]!.fill(0, 124, 136);
  blocks[0]![124] = 0x80;
  blocks[0]![135] = 3;
  sealed(blocks[0]!);
  expect(list(Buffer.concat([...blocks, Buffer.alloc(512)]))[0]!.size).toBe(3);
});

test('each rule has its code', () => {
  const code = (bytes: Uint8Array): string | undefined => codeOf(() => list(bytes));
  const changed = (change: (header: Buffer) => void): Buffer => {
    const blocks = member({ name: 'a', bytes: 'abc' });
    change(blocks[0]!);
    return Buffer.concat([...blocks, Buffer.alloc(1024)]);
  };
  expect(code(new Uint8Array(0))).toBe('tar.truncated');
  expect(code(Buffer.concat(member({ name: 'a', bytes: 'abc' })))).toBe('tar.truncated');
  expect(code(changed((header) => header.write('b')))).toBe('tar.checksum');
  expect(code(changed((header) => void sealed(header.fill('9', 124, 130))))).toBe('tar.number');
  expect(code(changed((header) => void sealed(header.fill('7', 124, 135))))).toBe('tar.truncated');
  expect(code(changed((header) => void sealed(header.fill(0, 0, 100))))).toBe('tar.name');
  expect(code(changed((header) => void sealed(header.fill(0xff, 0, 4))))).toBe('tar.name');
  expect(code(tar([{ name: 'a', type: 'S' }]))).toBe('tar.sparse');
  const pax = (text: string): Uint8Array => tar([{ name: 'p', bytes: text, type: 'x' }, { name: 'a' }]);
  expect(code(pax('99 path=a\n'))).toBe('tar.pax');
  expect(code(pax('path=a\n'))).toBe('tar.pax');
  expect(code(pax('9 path=ab'))).toBe('tar.pax');
  expect(code(pax(paxRecord('size', '-1')))).toBe('tar.pax');
  expect(code(pax(paxRecord('size', '99999999')))).toBe('tar.truncated');
  expect(code(pax(paxRecord('GNU.sparse.major', '1')))).toBe('tar.sparse');
  expect(code(tar([{ name: 'p', bytes: paxRecord('path', 'x'), type: 'x' }]))).toBe('tar.extra');
});

test('cut or damaged archives are read or refused', () => {
  const bytes = tar([
    { name: 'p', bytes: paxRecord('path', LONG), type: 'x' },
    { name: 'a', bytes: 'abc' },
    { name: 'l', bytes: `${LONG}\0`, type: 'L' },
    { name: 'b', bytes: 'x'.repeat(600) },
  ]);
  // Of the two closing blocks one is enough.
  const fine = Array.from({ length: 512 }, (_, i) => bytes.length - 512 + i);
  expectTruncationsRefused(bytes, list, fine);
  expectDamageSurvived(bytes, list, 400);
});

test('archives that Python writes', () => {
  withPython([], (python) => {
    python.run(`
import tarfile, io
for name, format in (('ustar', tarfile.USTAR_FORMAT), ('gnu', tarfile.GNU_FORMAT), ('pax', tarfile.PAX_FORMAT)):
    with tarfile.open(name + '.tar', 'w', format=format) as tar:
        for path, data in (('a/b.txt', b'one'), ('long/' * 30 + 'end.txt', b'two' * 300), ('ü.txt', b'')):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
`);
    for (const name of ['ustar', 'gnu', 'pax']) {
      const bytes = readFileSync(python.path(`${name}.tar`));
      const entries = list(bytes);
      expect(entries.map((entry) => [entry.name, textOf(bytes, entry)])).toEqual([
        ['a/b.txt', 'one'],
        [`${'long/'.repeat(30)}end.txt`, 'two'.repeat(300)],
        ['ü.txt', ''],
      ]);
    }
  });
});
