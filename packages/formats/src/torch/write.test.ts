import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bytesReader } from '../byte-reader.ts';
import { byteLengthOf, DTYPES, elementCount } from '../dtype.ts';
import { withPython } from '../python.test-support.ts';
import type { TensorToWrite } from '../safetensors/write.ts';
import { openZip } from '../zip/archive.ts';
import { readTorchCheckpoint } from './checkpoint.ts';
import { OrderedDict, PickleFloat, PickleTuple, type TorchWritable } from './pickle-write.ts';
import { atPath, flattenStateDict } from './state-dict.ts';
import { TorchTensor } from './tensor.ts';
import type { TorchValue } from './values.ts';
import { encodeTorchCheckpoint, torchCheckpointChunks } from './write.ts';

const read = (bytes: Uint8Array): TorchValue => readTorchCheckpoint(bytesReader(bytes, 'x.pth'), { verify: true });
const roundTrip = (value: TorchWritable): TorchValue => read(encodeTorchCheckpoint(value));

function made(dtype: TensorToWrite['dtype'], shape: readonly number[]): TensorToWrite & { bytes: Uint8Array } {
  return {
    dtype,
    shape,
    bytes: Uint8Array.from({ length: byteLengthOf(dtype, shape)! }, (_, i) => (i * 37 + 11) & 127),
  };
}

test('tensors of every dtype and shape come back, aligned for mapping', () => {
  const cases = fc.tuple(fc.constantFrom(...DTYPES), fc.array(fc.nat(4), { maxLength: 5 }));
  fc.assert(
    fc.property(cases, ([dtype, shape]) => {
      const tensor = made(dtype, shape);
      const file = encodeTorchCheckpoint(new OrderedDict([['w', tensor]]), { name: 'model' });
      const back = flattenStateDict(read(file)).get('w')!;
      expect([back.dtype, back.shape, back.isContiguous]).toEqual([dtype, shape, true]);
      expect(back.contiguousBytes()).toEqual(tensor.bytes);
      if (elementCount(shape)! > 0) expect(back.absoluteOffset! % 64).toBe(0);
    }),
    { numRuns: 200 },
  );
});

test('plain values come back as they were', () => {
  const leaf = fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'grapheme' }),
  );
  const { tree } = fc.letrec<{ tree: TorchWritable }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie('tree'), { maxLength: 5 }),
      fc
        .array(fc.tuple(fc.oneof(fc.string(), fc.integer()), tie('tree')), { maxLength: 5 })
        .map((pairs) => new Map(pairs)),
    ),
  }));
  // Minus zero is a whole number here and comes back as 0.
  fc.assert(
    fc.property(tree, (value) => {
      expect(roundTrip(value)).toEqual(withoutMinusZero(value));
    }),
  );
});

function withoutMinusZero(value: TorchWritable): TorchWritable {
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(withoutMinusZero);
  if (value instanceof Map)
    return new Map([...value].map(([key, item]) => [key === 0 ? 0 : key, withoutMinusZero(item)]));
  return value;
}

test.each([
  [255],
  [256],
  [65_535],
  [65_536],
  [-1],
  [2 ** 31],
  [-(2 ** 31) - 1],
  [Number.MAX_SAFE_INTEGER],
  [-(2n ** 70n)],
])('the whole number %s', (value) => expect(roundTrip([value])).toEqual([value]));

test('long lists and dicts, floats and tuples', () => {
  const list = Array.from({ length: 2501 }, (_, i) => i);
  const value = new Map<string, TorchWritable>([
    ['list', list],
    ['dict', new Map(list.map((i) => [`key ${i}`, i]))],
    ['betas', new PickleTuple([0.9, 0.95])],
    ['four', new PickleTuple([1, 2, 3, 4])],
    ['none', new PickleTuple([])],
    ['lr', new PickleFloat(1)],
  ]);
  const back = roundTrip(value);
  expect(atPath(back, ['list'])).toEqual(list);
  expect(atPath(back, ['dict', 'key 2500'])).toBe(2500);
  expect([atPath(back, ['betas']), atPath(back, ['four']), atPath(back, ['none']), atPath(back, ['lr'])]).toEqual([
    [0.9, 0.95],
    [1, 2, 3, 4],
    [],
    1,
  ]);
});

test('a tensor named twice is stored once', () => {
  const tied = made('float32', [4]);
  const back = flattenStateDict(roundTrip(new Map([['a', tied], ['b', tied], ['c', made('float32', [4])]]))); // biome-ignore format: one row
  expect(back.get('a')!.storage).toBe(back.get('b')!.storage);
  expect(back.get('c')!.storage).not.toBe(back.get('a')!.storage);
});

test('bytes are asked for one tensor at a time', () => {
  let asked = 0;
  const lazy = (): TensorToWrite => ({
    dtype: 'uint8',
    shape: [8],
    bytes: () => Uint8Array.from([asked++, 0, 0, 0, 0, 0, 0, 0]),
  });
  const largest: number[] = [];
  for (const chunk of torchCheckpointChunks([lazy(), lazy(), lazy()])) {
    largest.push(asked);
    expect(chunk.byteLength).toBeLessThan(2000);
  }
  // Between any two pieces at most one more tensor was made.
  expect(largest.every((count, i) => i === 0 || count - largest[i - 1]! <= 1)).toBe(true);
  expect(asked).toBe(3);
});

test.each<[string, () => TorchWritable, string]>([
  ['too few bytes', () => ({ dtype: 'float32', shape: [2], bytes: new Uint8Array(4) }), 'needs 8 bytes, got 4'],
  ['an impossible shape', () => ({ dtype: 'float32', shape: [-1], bytes: new Uint8Array(4) }), 'shape [-1]'],
  ['half of a surrogate pair', () => '\ud800', 'half of a surrogate pair'],
  ['a circle', () => { const list: TorchWritable[] = []; list.push(list); return list; }, 'holds itself'],
])('refuses %s', (_, value, message) => expect(() => encodeTorchCheckpoint(value())).toThrow(message)); // biome-ignore format: rows

test("Python's own pickle reads it, with nothing but the names that weights_only admits", () =>
  withPython(['pickle', 'zipfile'], (python) => {
    const value = new Map<string, TorchWritable>([
      ['model', new OrderedDict([['w', made('bfloat16', [2, 3])], ['steps', made('int64', [])], ['odd', made('uint16', [3])]])],
      ['optimizer', new Map<string, TorchWritable>([['betas', new PickleTuple([0.9, 0.95])], ['lr', new PickleFloat(1)], ['ids', [0, 1, 300, 70_000, -5]]])],
      ['note', 'grün'],
    ]); // biome-ignore format: rows
    writeFileSync(python.path('x.pth'), encodeTorchCheckpoint(value, { name: 'x' }));
    const printed = python.run(`
import pickle, zipfile, io, collections, json
z = zipfile.ZipFile('x.pth'); assert z.testzip() is None
names = set()
class U(pickle.Unpickler):
    def find_class(self, module, name):
        names.add(module + '.' + name)
        if (module, name) == ('collections', 'OrderedDict'): return collections.OrderedDict
        return (lambda *a: [list(x) if isinstance(x, tuple) else x for x in a[:4]]) if name.startswith('_rebuild') else name
    def persistent_load(self, pid): return pid
v = U(io.BytesIO(z.read('x/data.pkl'))).load()
assert isinstance(v['model'], collections.OrderedDict) and isinstance(v['optimizer']['betas'], tuple) and isinstance(v['optimizer']['lr'], float)
print(json.dumps([z.namelist(), sorted(names), list(v['model'].items()), v['optimizer'], v['note']]))`);
    expect(JSON.parse(printed)).toEqual([
      ['x/data.pkl', 'x/.format_version', 'x/.storage_alignment', 'x/byteorder', 'x/data/0', 'x/data/1', 'x/data/2', 'x/version', 'x/.data/serialization_id'],
      ['collections.OrderedDict', 'torch.BFloat16Storage', 'torch.LongStorage', 'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor_v3', 'torch.storage.UntypedStorage', 'torch.uint16'],
      [
        ['w', [['storage', 'BFloat16Storage', '0', 'cpu', 6], 0, [2, 3], [3, 1]]],
        ['steps', [['storage', 'LongStorage', '1', 'cpu', 1], 0, [], []]],
        ['odd', [['storage', 'UntypedStorage', '2', 'cpu', 6], 0, [3], [1]]],
      ],
      { betas: [0.9, 0.95], lr: 1, ids: [0, 1, 300, 70_000, -5] },
      'grün',
    ]); // biome-ignore format: rows
  }));

test("the pickle of a state dict is torch.save's own, byte for byte", () => {
  const golden =
    process.env.GOLDEN_DIR ?? join(dirname(fileURLToPath(import.meta.url)), '../../../../../shared/golden');
  const path = join(golden, 'autonat', 'nnet_ema.pth');
  if (!existsSync(path)) {
    console.log(`reference files: no ${path}, not compared`);
    expect(process.env.REQUIRE_SHARED).not.toBe('1');
    return;
  }
  const theirs = readFileSync(path);
  const value = read(theirs) as Map<string, TorchTensor>;
  expect([...value.values()].every((tensor) => tensor instanceof TorchTensor)).toBe(true);
  const ours = encodeTorchCheckpoint(value, { name: 'nnet_ema' });
  const [a, b] = [theirs, ours].map((file) => openZip(bytesReader(file, 'x.pth')));
  expect([...b!.entries.keys()]).toEqual([...a!.entries.keys()]);
  for (const [name, entry] of a!.entries) {
    if (name.endsWith('serialization_id')) continue;
    expect(Buffer.compare(b!.read(b!.entries.get(name)!), a!.read(entry)), name).toBe(0);
  }
});
