import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { byteSizeOf, DTYPES, elementCount } from '../dtype.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { readSafetensorsHeader, readTensorBytes } from './read.ts';
import { encodeSafetensors, safetensorsChunks, type TensorToWrite } from './write.ts';

/** A file with any header text and any data. */
function forge(header: string | Uint8Array, data = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const size = new Uint8Array(BigUint64Array.of(length ?? BigInt(text.byteLength)).buffer);
  return concatBytes([size, text, data]);
}

const read = (bytes: Uint8Array) => readSafetensorsHeader(bytesReader(bytes, 'x.safetensors'));
const f32 = (shape: string, begin: number, end: number) =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;

const writable = DTYPES.filter((dtype) => dtype !== 'complex128');
const tensor = fc.tuple(fc.constantFrom(...writable), fc.array(fc.nat(4), { maxLength: 4 })).chain(([dtype, shape]) => {
  const length = elementCount(shape)! * byteSizeOf(dtype);
  return fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((bytes): TensorToWrite => ({ dtype, shape, bytes }));
});
const name = fc.string({ unit: 'grapheme' }).filter((text) => text !== '__metadata__' && !/\p{Surrogate}/u.test(text));
const file = fc.uniqueArray(fc.tuple(name, tensor), { maxLength: 6, selector: ([key]) => key });

test('what is written is read back: names in order, dtypes, shapes, bytes, metadata', () => {
  fc.assert(
    fc.property(file, fc.dictionary(name, name), (tensors, metadata) => {
      const bytes = encodeSafetensors(tensors, metadata);
      const reader = bytesReader(bytes);
      const header = readSafetensorsHeader(reader);
      expect([...header.tensors.keys()]).toEqual(tensors.map(([key]) => key));
      expect({ ...header.metadata }).toEqual({ ...metadata });
      for (const [key, { dtype, shape, bytes: content }] of tensors) {
        const entry = header.tensors.get(key)!;
        expect([entry.dtype, entry.shape]).toEqual([dtype, shape]);
        expect(readTensorBytes(reader, entry)).toEqual(content);
        // Aligned for readers that view the file in place; a complex number aligns like its halves.
        expect(entry.offset % (dtype === 'complex64' ? 4 : byteSizeOf(dtype))).toBe(0);
      }
    }),
  );
});

test('exact bytes of a small file', () => {
  const bytes = encodeSafetensors([['a', { dtype: 'uint8', shape: [2], bytes: Uint8Array.of(7, 8) }]], { k: 'v' });
  const json = '{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
  expect(bytes).toEqual(forge(json.padEnd(80), Uint8Array.of(7, 8)));
});

test('data is moved only when alignment asks for it', () => {
  const odd = { dtype: 'uint8', shape: [1], bytes: new Uint8Array(1) } as const;
  const wide = { dtype: 'float32', shape: [1], bytes: new Uint8Array(4) } as const;
  const chunks = [...safetensorsChunks([['odd', odd], ['wide', wide]] as const)]; // biome-ignore format: pairs
  expect(chunks.slice(1)).toEqual([wide.bytes, odd.bytes]);
  const straight = [...safetensorsChunks([['wide', wide], ['odd', odd], ['odd2', odd]] as const)]; // biome-ignore format: pairs
  expect(straight[1]).toBe(wide.bytes);
  const { tensors } = read(concatBytes(chunks));
  expect([...tensors.keys()]).toEqual(['odd', 'wide']);
  expect(tensors.get('wide')!.offset).toBeLessThan(tensors.get('odd')!.offset);
});

test('names that are special to JavaScript are plain names', () => {
  const header = `{"__metadata__":{"__proto__":"p"},"__proto__":${f32('[1]', 0, 4)},"constructor":${f32('[]', 4, 8)}}`;
  const { metadata, tensors } = read(forge(header, new Uint8Array(8)));
  expect([...tensors.keys()]).toEqual(['__proto__', 'constructor']);
  expect(Object.entries(metadata)).toEqual([['__proto__', 'p']]);
  expect(Object.getPrototypeOf(metadata)).toBeNull();
});

describe('each rule has its code', () => {
  const data = new Uint8Array(8);
  const one = f32('[2]', 0, 8);
  const rules: [string, string, Uint8Array][] = [
    ['too-short', 'seven bytes', new Uint8Array(7)],
    ['header-too-large', 'a header above 100 MB', forge('{}', data, 100_000_001n)],
    ['header-too-large', 'a header of 2^63 bytes', forge('{}', data, 2n ** 63n)],
    ['header-truncated', 'a header longer than the file', forge('{}', data, 11n)],
    ['json', 'no brace', forge('[]')],
    ['json', 'an empty header', forge('')],
    ['json', 'text after the end', forge(`{"a":${one}}x`, data)],
    ['json', 'a trailing comma', forge(`{"a":${one},}`, data)],
    ['json', 'a control character in a name', forge(`{"a\n":${one}}`, data)],
    ['json', 'a broken escape', forge(`{"\\x":${one}}`, data)],
    ['json', 'a name that is not UTF-8', forge(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a), data)],
    ['json', 'a negative size', forge(`{"a":${f32('[-2]', 0, 8)}}`, data)],
    ['json', 'a fraction', forge(`{"a":${f32('[2.0]', 0, 8)}}`, data)],
    ['json', 'a leading zero', forge(`{"a":${f32('[02]', 0, 8)}}`, data)],
    ['json', 'deep nesting', forge(`{"a":${'['.repeat(100_000)}`)],
    ['json', 'metadata that is no text', forge('{"__metadata__":{"a":1}}')],
    ['duplicate-name', 'a tensor twice', forge(`{"a":${one},"a":${one}}`, data)],
    ['duplicate-name', 'a tensor twice, once escaped', forge(`{"a":${one},"\\u0061":${one}}`, data)],
    ['duplicate-name', 'metadata twice', forge('{"__metadata__":{},"__metadata__":{}}')],
    ['duplicate-name', 'a metadata key twice', forge('{"__metadata__":{"a":"","a":""}}')],
    ['unknown-field', 'a field too many', forge('{"a":{"dtype":"F32","offsets":[0,8]}}', data)],
    ['unknown-field', 'a field twice', forge('{"a":{"dtype":"F32","dtype":"F32"}}', data)],
    ['missing-field', 'no shape', forge('{"a":{"dtype":"F32","data_offsets":[0,8]}}', data)],
    ['dtype', 'an unknown dtype', forge('{"a":{"dtype":"F4","shape":[],"data_offsets":[0,8]}}', data)],
    ['rank', '65 axes', forge(`{"a":${f32(`[${'1,'.repeat(64)}1]`, 0, 4)}}`, data)],
    ['offsets', 'end before begin', forge(`{"a":${f32('[2]', 8, 0)}}`, data)],
    ['offsets', 'three offsets', forge('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}', data)],
    ['offsets', 'one offset', forge('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}', data)],
    ['overflow', 'a number above 2^53', forge(`{"a":${f32('[9007199254740992]', 0, 8)}}`, data)],
    ['overflow', 'a product above 2^53', forge(`{"a":${f32('[134217728,134217728]', 0, 8)}}`, data)],
    ['size', 'fewer bytes than the shape', forge(`{"a":${f32('[3]', 0, 8)}}`, data)],
    ['hole', 'unused bytes in front', forge(`{"a":${f32('[1]', 4, 8)}}`, data)],
    ['hole', 'unused bytes between', forge(`{"a":${f32('[1]', 0, 4)},"b":${f32('[1]', 8, 12)}}`, new Uint8Array(12))],
    ['overlap', 'two tensors on the same bytes', forge(`{"a":${one},"b":${one}}`, data)],
    ['overlap', 'one byte shared', forge(`{"a":${one},"b":${f32('[1]', 7, 11)}}`, new Uint8Array(11))],
    ['data-truncated', 'data shorter than the tensors', forge(`{"a":${one}}`, new Uint8Array(7))],
    ['trailing-bytes', 'data longer than the tensors', forge(`{"a":${one}}`, new Uint8Array(9))],
  ];
  test.each(rules)('%s: %s', (rule, _, bytes) => {
    expect(codeOf(() => read(bytes))).toBe(`safetensors.${rule}`);
  });

  test.each([
    ['size', [['a', { dtype: 'float32', shape: [2], bytes: new Uint8Array(7) }]]],
    ['dtype', [['a', { dtype: 'complex128', shape: [1], bytes: new Uint8Array(16) }]]],
    ['name', [['__metadata__', { dtype: 'uint8', shape: [0], bytes: new Uint8Array(0) }]]],
    ['text', [['\ud800', { dtype: 'uint8', shape: [0], bytes: new Uint8Array(0) }]]],
  ] as [string, [string, TensorToWrite][]][])('the writer refuses a wrong %s', (rule, tensors) => {
    expect(codeOf(() => encodeSafetensors(tensors))).toBe(`safetensors.write-${rule}`);
  });
});

const sample = encodeSafetensors(
  [
    ['weight', { dtype: 'float32', shape: [2, 3], bytes: new Uint8Array(24).fill(1) }],
    ['empty', { dtype: 'int64', shape: [0, 5], bytes: new Uint8Array(0) }],
    ['é"\\', { dtype: 'bfloat16', shape: [3], bytes: new Uint8Array(6) }],
  ],
  { format: 'pt' },
);

test('a file cut at any byte is refused', () => expectTruncationsRefused(sample, read));

test('damaged files are read or refused', () => expectDamageSurvived(sample, read, 2000));

test('a safe error names the byte in the file', () => {
  expect(() => read(forge('{"a":7}'))).toThrow("x.safetensors, byte 13: expected '{' in the header, got '7'");
});

test("Python's safetensors reads our file, and we read its", () => {
  withPython(['numpy', 'safetensors'], (python) => {
    const floats = Float32Array.of(1.5, -2, 3.25);
    const tensors: [string, TensorToWrite][] = [
      ['flag', { dtype: 'bool', shape: [3], bytes: Uint8Array.of(1, 0, 1) }],
      ['x', { dtype: 'float32', shape: [3, 1], bytes: new Uint8Array(floats.buffer) }],
    ];
    writeFileSync(python.path('ours.safetensors'), encodeSafetensors(tensors, { made: 'here' }));
    const printed = python.run(`
import numpy, json
from safetensors import safe_open
from safetensors.numpy import save_file
with safe_open('ours.safetensors', 'np') as f:
    print(json.dumps([f.metadata(), f.get_tensor('x').tolist(), f.get_tensor('flag').tolist()]))
save_file({'i': numpy.arange(6, dtype=numpy.int16).reshape(2, 3), 'd': numpy.array(0.5)}, 'theirs.safetensors', {'a': 'b'})
`);
    expect(JSON.parse(printed)).toEqual([{ made: 'here' }, [[1.5], [-2], [3.25]], [true, false, true]]);
    const reader = bytesReader(readFileSync(python.path('theirs.safetensors')));
    const { tensors: theirs, metadata } = readSafetensorsHeader(reader);
    expect({ ...metadata }).toEqual({ a: 'b' });
    expect(theirs.get('d')).toMatchObject({ dtype: 'float64', shape: [] });
    expect([...readTensorBytes(reader, theirs.get('i')!)]).toEqual([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
  });
});
