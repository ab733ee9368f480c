import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { byteSizeOf, bytesOf, DTYPES, type DType, elementCount, typedArrayOf } from '../dtype.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { readNpyHeader } from './header.ts';
import { encodeNpy, type NpyArray, readNpy } from './npy.ts';
import { encodeNpz, readNpz } from './npz.ts';
import { NpzArrayStream } from './npz-stream.ts';

const stored = DTYPES.filter((dtype) => !dtype.startsWith('float8'));
const read = (bytes: Uint8Array) => readNpy(bytesReader(bytes, 'x.npy'));

const arrays = fc.tuple(fc.constantFrom(...stored), fc.array(fc.nat(4), { maxLength: 4 })).chain(([dtype, shape]) => {
  const length = elementCount(shape)! * byteSizeOf(dtype);
  return fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((bytes): NpyArray => ({ dtype, shape, data: typedArrayOf(dtype, bytes) }));
});

/** A file with any header text. */
function forge(literal: string, data: Uint8Array = new Uint8Array(0), version = 1, length?: number): Uint8Array {
  const text = new TextEncoder().encode(literal);
  const size = length ?? text.byteLength;
  const sizes =
    version === 1 ? [size & 255, size >> 8] : [size & 255, (size >> 8) & 255, (size >> 16) & 255, size >>> 24];
  return concatBytes([Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...sizes), text, data]);
}

const header = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': ${descr}, 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;

test('what is written is read back, data at a multiple of 64', () => {
  fc.assert(
    fc.property(arrays, (array) => {
      const bytes = encodeNpy(array);
      expect(readNpyHeader(bytesReader(bytes)).dataOffset % 64).toBe(0);
      const back = read(bytes);
      expect([back.dtype, back.shape, back.data.constructor]).toEqual([
        array.dtype,
        array.shape,
        array.data.constructor,
      ]);
      expect(bytesOf(back.data)).toEqual(bytesOf(array.data));
    }),
  );
});

test('Fortran order becomes C order', () => {
  const data = Uint8Array.of(1, 4, 2, 5, 3, 6);
  expect([...read(forge(header("'|u1'", '(2, 3)', 'True'), data)).data]).toEqual([1, 2, 3, 4, 5, 6]);
  expect(readNpyHeader(bytesReader(forge(header("'|u1'", '(2, 3)', 'True'), data))).fortranOrder).toBe(true);
  const cube = Uint8Array.from({ length: 24 }, (_, i) => i);
  const turned = read(forge(header("'|i1'", '(2, 3, 4)', 'True'), cube));
  expect([...turned.data].slice(0, 6)).toEqual([0, 6, 12, 18, 2, 8]);
});

test('big-endian data is swapped', () => {
  expect([...read(forge(header("'>i2'", '(2,)'), Uint8Array.of(1, 2, 255, 254))).data]).toEqual([258, -2]);
  expect([...read(forge(header("'>c8'", '()'), Uint8Array.of(63, 128, 0, 0, 64, 0, 0, 0))).data]).toEqual([1, 2]);
});

test('versions 2 and 3, and the long integers of Python 2', () => {
  for (const version of [1, 2, 3]) {
    expect(read(forge(header("'<u2'", '(2L, 1L)'), Uint8Array.of(1, 0, 2, 0), version)).shape).toEqual([2, 1]);
  }
});

describe('each rule has its code', () => {
  const byte = (count: number) => new Uint8Array(count);
  test.each([
    ['magic', byte(0)],
    ['magic', byte(64)],
    ['version', forge(header("'|u1'", '()'), byte(1), 4)],
    ['header-too-large', forge('{}', byte(0), 2, 0x7fffffff)],
    ['truncated', forge('{}', byte(0), 1, 500)],
    ['header', forge('')],
    ['header', forge("'text'")],
    ['header', forge("{'descr': '|u1'}")],
    ['header', forge(`${header("'|u1'", '()')}x`, byte(1))],
    ['header', forge("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': ()}", byte(1))],
    ['header', forge("{'descr': '|u1', 'fortran_order': False, 'shape': (), 'more': 1}", byte(1))],
    ['header', forge(header("'|u1'", '(1.5,)'), byte(1))],
    ['header', forge(header("'|u1'", '(-1,)'))],
    ['header', forge(header("'|u1'", '__import__("os")'), byte(1))],
    ['header', forge(header("'|u1'", '('.repeat(5000)))],
    ['header', forge(header("'|u1'", '(9007199254740993,)'))],
    ['overflow', forge(header("'<f8'", '(4294967296, 4294967296)'))],
    ['overflow', forge(header("'<f8'", '(0, 4294967296, 4294967296)'))],
    ['rank', forge(header("'|u1'", `(${'1, '.repeat(65)})`), byte(1))],
    ['structured-dtype', forge(header("[('a', '<i4'), ('b', '<f8', (2,))]", '(1,)'), byte(20))],
    ['object-dtype', forge(header("'|O'", '(1,)'), byte(8))],
    ['dtype', forge(header("'<U4'", '(1,)'), byte(16))],
    ['dtype', forge(header("'|V2'", '(1,)'), byte(2))],
    ['dtype', forge(header("'|f8'", '(1,)'), byte(8))],
    ['dtype', forge(header("'<M8[ns]'", '(1,)'), byte(8))],
    ['truncated', forge(header("'<f8'", '(2,)'), byte(15))],
    ['truncated', forge(header("'<f8'", '(1000000000000,)'), byte(16))],
    ['trailing-bytes', forge(header("'<f8'", '(2,)'), byte(17))],
  ])('%s (%#)', (rule, bytes) => expect(codeOf(() => read(bytes))).toBe(`npy.${rule}`));

  test('the writer refuses data of another size and types without a form', () => {
    const data = new Uint8Array(3);
    expect(codeOf(() => encodeNpy({ dtype: 'uint8', shape: [4], data }))).toBe('npy.write-size');
    expect(codeOf(() => encodeNpy({ dtype: 'float8_e5m2', shape: [3], data }))).toBe('npy.write-dtype');
  });
});

const sample = encodeNpy({ dtype: 'int32', shape: [2, 3], data: Int32Array.of(1, 2, 3, 4, 5, 6) });

test('a file cut at any byte is refused', () => expectTruncationsRefused(sample, read));
test('damaged files are read or refused', () => expectDamageSurvived(sample, read, 2000));

describe('npz', () => {
  const list: [string, NpyArray][] = [
    ['mu', { dtype: 'float64', shape: [3], data: Float64Array.of(1, 2, 3) }],
    ['folder/ids', { dtype: 'int64', shape: [2, 2], data: BigInt64Array.of(1n, -2n, 3n, 4n) }],
    ['zeros', { dtype: 'uint8', shape: [1000, 10], data: new Uint8Array(10_000) }],
  ];
  const open = (bytes: Uint8Array) => readNpz(bytesReader(bytes, 'x.npz'));
  const readAll = (bytes: Uint8Array) => [...open(bytes)];

  test.each(['stored', 'deflate'] as const)('%s: written, listed, read one by one', (method) => {
    const bytes = encodeNpz(list, { method });
    const npz = open(bytes);
    expect([npz.size, ...npz.keys()]).toEqual([3, 'mu', 'folder/ids', 'zeros']);
    expect(npz.header('zeros')).toMatchObject({ dtype: 'uint8', shape: [1000, 10] });
    expect([npz.has('sigma'), npz.get('sigma'), npz.header('sigma')]).toEqual([false, undefined, undefined]);
    expect([...npz]).toEqual(list);
    if (method === 'deflate') expect(bytes.byteLength).toBeLessThan(1500);
  });

  test.each(['stored', 'deflate'] as const)('%s: cut or damaged files are read or refused', (method) => {
    const small = encodeNpz(list.slice(0, 2), { method });
    expectTruncationsRefused(small, readAll);
    expectDamageSurvived(small, readAll, 1000);
    expectDamageSurvived(small, (bytes) => open(bytes).header('mu'), 300);
  });

  test('entries that are no arrays are named', () => {
    expect(codeOf(() => readAll(encodeNpz([['a', list[0]![1]]]).map((b) => (b === 0x79 ? 0x78 : b))))).toBe(
      'npz.entry',
    );
  });
});

test('numpy reads our files, and we read its', () => {
  withPython(['numpy'], (python) => {
    const dtypes: DType[] = stored.filter((dtype) => dtype !== 'bfloat16');
    const ours = dtypes.map((dtype): [string, NpyArray] => {
      const bytes = Uint8Array.from({ length: 6 * byteSizeOf(dtype) }, (_, i) => (dtype === 'bool' ? i & 1 : i + 1));
      return [dtype, { dtype, shape: [2, 3], data: typedArrayOf(dtype, bytes) }];
    });
    for (const [name, array] of ours) writeFileSync(python.path(`${name}.npy`), encodeNpy(array));
    writeFileSync(python.path('stored.npz'), encodeNpz(ours));
    writeFileSync(python.path('deflated.npz'), encodeNpz(ours, { method: 'deflate' }));
    const printed = python.run(`
import numpy, json
out = {}
a, b = numpy.load('stored.npz'), numpy.load('deflated.npz')
for name in ${JSON.stringify(dtypes)}:
    x = numpy.load(name + '.npy')
    assert x.tobytes() == a[name].tobytes() == b[name].tobytes() and x.shape == (2, 3)
    out[name] = [str(x.dtype), x.tobytes().hex()]
print(json.dumps(out))
x = numpy.arange(24).reshape(2, 3, 4)
numpy.save('fortran.npy', numpy.asfortranarray(x.astype('<f4')))
numpy.save('big.npy', x.astype('>i8'))
numpy.save('half.npy', numpy.array([1.0, -2.0], 'f2'))
numpy.savez('s.npz', x=x, y=numpy.float32(1.5))
numpy.savez_compressed('c.npz', x=x, y=numpy.float32(1.5))
numpy.save('object.npy', numpy.array([{}], object), allow_pickle=True)
with open('v2.npy', 'wb') as f: numpy.lib.format.write_array(f, x.astype('u1'), version=(2, 0))
`);
    const seen = JSON.parse(printed) as Record<string, [string, string]>;
    for (const [name, { data }] of ours) expect(seen[name]).toEqual([name, Buffer.from(bytesOf(data)).toString('hex')]);
    const load = (name: string) => read(readFileSync(python.path(name)));
    const counted = Array.from({ length: 24 }, (_, i) => i);
    expect([...load('fortran.npy').data]).toEqual(counted);
    expect([...load('big.npy').data].map(Number)).toEqual(counted);
    expect([...load('half.npy').data]).toEqual([0x3c00, 0xc000]);
    expect(load('v2.npy')).toMatchObject({ dtype: 'uint8', shape: [2, 3, 4] });
    expect(codeOf(() => load('object.npy'))).toBe('npy.object-dtype');
    for (const name of ['s.npz', 'c.npz']) {
      const npz = readNpz(bytesReader(readFileSync(python.path(name))));
      expect([...npz.get('x')!.data].map(Number)).toEqual(counted);
      expect(npz.get('y')).toEqual({ dtype: 'float32', shape: [], data: Float32Array.of(1.5) });
    }
  });
});

describe('a npz file in pieces', () => {
  const data = Uint8Array.from({ length: 24 }, (_, i) => 7 * i);
  const written = (zip64: boolean): Uint8Array => {
    const stream = new NpzArrayStream('arr_0', 'uint8', [2, 3, 4], { zip64 });
    const start = stream.start();
    for (const end of [5, 5, 24]) stream.add(data.subarray(24 - stream.remaining, end));
    const { head, tail } = stream.finish();
    const file = Buffer.concat([start, data, tail]);
    file.set(head);
    return file;
  };

  test('is that file, and with 64-bit fields one that reads the same', () => {
    expect(written(false)).toEqual(Buffer.from(encodeNpz([['arr_0', { dtype: 'uint8', shape: [2, 3, 4], data }]])));
    const wide = readNpz(bytesReader(written(true), 'wide.npz'));
    expect(wide.get('arr_0')).toMatchObject({ dtype: 'uint8', shape: [2, 3, 4], data });
    expect(written(true).length).toBeGreaterThan(written(false).length + 56);
  });

  test('has places for the sizes of 50,000 images of 256 px', () => {
    const start = new NpzArrayStream('arr_0', 'uint8', [50_000, 256, 256, 3]).start();
    const view = new DataView(start.buffer, start.byteOffset);
    // 32-bit sizes say "see the extra field"; there both are 64 bits wide (zip, APPNOTE 4.5.3).
    expect([view.getUint32(18, true), view.getUint32(22, true)]).toEqual([0xffffffff, 0xffffffff]);
    expect(view.getBigUint64(30 + 9 + 4, true)).toBe(BigInt(50_000 * 256 * 256 * 3 + 128));
  });

  test('has neither more nor less data than its shape', () => {
    const stream = new NpzArrayStream('arr_0', 'uint8', [4]);
    stream.add(data.subarray(0, 3));
    expect(() => stream.finish()).toThrow('1 bytes too few');
    expect(() => stream.add(data.subarray(0, 2))).toThrow('1 bytes too many');
  });

  test('numpy reads it', () =>
    withPython(['numpy'], (python) => {
      writeFileSync(python.path('pieces.npz'), written(false));
      writeFileSync(python.path('wide.npz'), written(true));
      const script =
        "import numpy\nfor f in ('pieces', 'wide'): print(numpy.load(f + '.npz')['arr_0'].tobytes().hex())";
      expect(python.run(script).trim().split('\n')).toEqual([0, 1].map(() => Buffer.from(data).toString('hex')));
    }));
});
