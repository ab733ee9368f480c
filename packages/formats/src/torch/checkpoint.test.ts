import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesReader } from '../byte-reader.ts';
import { byteSizeOf, type DType, elementCount } from '../dtype.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withFile } from '../node.ts';
import { withPython } from '../python.test-support.ts';
import { readTorchCheckpoint } from './checkpoint.ts';
import {
  call,
  type ForgedTensor,
  legacyCheckpoint,
  protocol2,
  Raw,
  STORAGE_DTYPES,
  tensorValue,
  zipCheckpoint,
} from './forge.test-support.ts';
import { atPath, flattenStateDict } from './state-dict.ts';
import { TorchTensor } from './tensor.ts';
import type { TorchValue } from './values.ts';

const read = (bytes: Uint8Array) => readTorchCheckpoint(bytesReader(bytes, 'x.pt'));
/** Reads everything that a checkpoint offers, as `inspect` and a model would. */
const readAll = (bytes: Uint8Array) => {
  for (const tensor of flattenStateDict(read(bytes)).values()) {
    tensor.contiguousBytes();
    tensor.absoluteOffset;
  }
};

const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 37 + 11) & 255);

/** A tensor in both layouts, read back. */
function readBoth(tensor: ForgedTensor, storage: Uint8Array): TorchTensor[] {
  const zip = zipCheckpoint(protocol2(tensorValue(tensor)), { [tensor.key]: storage });
  const legacy = legacyCheckpoint(protocol2(tensorValue(tensor, true)), { [tensor.key]: [tensor.dtype, storage] });
  return [zip, legacy].map((file) => {
    const value = read(file);
    expect(value).toBeInstanceOf(TorchTensor);
    const { absoluteOffset } = value as TorchTensor;
    if (absoluteOffset !== null) {
      const content = (value as TorchTensor).contiguousBytes();
      expect(file.slice(absoluteOffset, absoluteOffset + content.byteLength)).toEqual(content);
    }
    return value as TorchTensor;
  });
}

test('contiguous tensors of all dtypes and shapes, in both layouts', () => {
  const cases = fc.tuple(fc.constantFrom(...STORAGE_DTYPES), fc.array(fc.nat(3), { maxLength: 4 }), fc.nat(3));
  fc.assert(
    fc.property(cases, ([dtype, shape, offset]) => {
      const strides = shape.map((_, axis) => elementCount(shape.slice(axis + 1).map((size) => Math.max(1, size)))!);
      const held = elementCount(shape)! + offset;
      const storage = bytes(held * byteSizeOf(dtype));
      for (const tensor of readBoth({ dtype, key: '0', held, shape, strides, offset }, storage)) {
        expect([tensor.dtype, tensor.shape, tensor.isContiguous]).toEqual([dtype, shape, true]);
        expect(tensor.contiguousBytes()).toEqual(storage.slice(offset * byteSizeOf(dtype)));
        expect(tensor.absoluteOffset).not.toBeNull();
      }
    }),
  );
});

test('strided tensors gather in C order', () => {
  const axes = fc.array(fc.record({ size: fc.integer({ min: 1, max: 4 }), stride: fc.nat(7) }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(axes, fc.constantFrom<DType>('int8', 'float16', 'float32', 'int64', 'complex128'), (list, dtype) => {
      const shape = list.map(({ size }) => size);
      const strides = list.map(({ stride }) => stride);
      const held = 1 + list.reduce((sum, { size, stride }) => sum + (size - 1) * stride, 0);
      const item = byteSizeOf(dtype);
      const storage = bytes(held * item);
      let wanted = [0];
      for (const { size, stride } of list) {
        wanted = wanted.flatMap((start) => Array.from({ length: size }, (_, i) => start + i * stride));
      }
      const expected = wanted.flatMap((element) => [...storage.slice(element * item, (element + 1) * item)]);
      for (const tensor of readBoth({ dtype, key: 'k', held, shape, strides }, storage)) {
        expect([...tensor.contiguousBytes()]).toEqual(expected);
      }
    }),
  );
});

test('tensors of one storage share it', () => {
  const whole = { dtype: 'float32', key: '7', held: 6, shape: [2, 3], strides: [3, 1] } as const;
  const dict = new Map([
    ['tied', tensorValue({ ...whole, shape: [2, 3], strides: [3, 1] })],
    ['turned', tensorValue({ ...whole, shape: [3, 2], strides: [1, 3] })],
    ['row', tensorValue({ ...whole, shape: [3], strides: [1], offset: 3 })],
  ]);
  const file = zipCheckpoint(protocol2(dict), { 7: new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer) });
  const tensors = flattenStateDict(read(file));
  const [tied, turned, row] = [...tensors.values()] as [TorchTensor, TorchTensor, TorchTensor];
  expect([tied.storage, row.storage]).toEqual([turned.storage, turned.storage]);
  expect(tied.storage).toBe(row.storage);
  expect([...new Float32Array(turned.contiguousBytes().slice().buffer)]).toEqual([0, 3, 1, 4, 2, 5]);
  expect([...new Float32Array(row.contiguousBytes().slice().buffer)]).toEqual([3, 4, 5]);
  expect([turned.absoluteOffset, row.absoluteOffset! - tied.absoluteOffset!]).toEqual([null, 12]);
});

test('big-endian files are swapped and never mapped', () => {
  const tensor = { dtype: 'int16', key: '0', held: 2, shape: [2], strides: [1] } as const;
  const file = zipCheckpoint(
    protocol2(tensorValue({ ...tensor, shape: [2], strides: [1] })),
    { 0: Uint8Array.of(1, 2, 3, 4) },
    { 'x/byteorder': 'big' },
  );
  const value = read(file) as TorchTensor;
  expect([...value.contiguousBytes()]).toEqual([2, 1, 4, 3]);
  expect(value.absoluteOffset).toBeNull();
});

describe('each rule of the layouts has its code', () => {
  const tensor = (fields: Partial<ForgedTensor> = {}) =>
    tensorValue({ dtype: 'float32', key: '0', held: 4, shape: [4], strides: [1], ...fields });
  const file = (value: unknown, storage = 16) => zipCheckpoint(protocol2(value), { 0: bytes(storage) });
  const machine = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  test.each([
    ['torch.not-a-checkpoint', machine('')],
    ['torch.not-a-checkpoint', machine('GIF89a')],
    ['torch.not-a-checkpoint', machine('\x80\x02K\x01.')],
    ['torch.no-pickle', zipCheckpointWithout()],
    ['torch.torchscript', zipCheckpoint(protocol2(1), {}, { 'x/constants.pkl': '' })],
    ['torch.byteorder', zipCheckpoint(protocol2(1), {}, { 'x/byteorder': 'middle' })],
    ['torch.storage-missing', zipCheckpoint(protocol2(tensor()))],
    ['torch.storage-size', file(tensor(), 20)],
    ['torch.storage-size', file(tensor(), 12)],
    ['pickle.tensor', file(tensor({ shape: [5] }))],
    ['pickle.tensor', file(tensor({ offset: 1 }))],
    ['pickle.tensor', file(tensor({ offset: -1 }))],
    ['pickle.tensor', file(tensor({ shape: [2, 2] }))],
    ['pickle.tensor', file(tensor({ shape: [2, 2], strides: [3, 1] }))],
    ['pickle.tensor', file(tensor({ strides: [-1] }))],
    ['pickle.tensor', file(tensor({ shape: [2 ** 30, 2 ** 30], strides: [0, 0] }))],
    ['pickle.tensor', file(tensor({ shape: Array(65).fill(1), strides: Array(65).fill(1) }))],
    ['pickle.persistent-id', file(tensor({ held: -4 }))],
    ['pickle.persistent-id', file(tensor({ held: 1e300 }))],
    ['pickle.storage-conflict', file([tensor(), tensor({ dtype: 'int32' })])],
    ['pickle.storage-conflict', file([tensor(), tensor({ held: 8 })])],
    ['pickle.trailing-bytes', zipCheckpoint([protocol2(1), 'x'])],
    ['torch.trailing-bytes', Uint8Array.of(...legacyCheckpoint(protocol2(1)), 0)],
    ['torch.storage-keys', legacyCheckpoint(protocol2(1), { 5: ['uint8', bytes(1)] })],
    [
      'torch.storage-missing',
      legacyCheckpoint(protocol2(tensorValue({ dtype: 'uint8', key: 'q', held: 1, shape: [1], strides: [1] }, true))),
    ],
  ])('%s (%#)', (code, content) => expect(codeOf(() => readAll(content))).toBe(code));

  test('an expanded tensor beyond all memory is described, but not unfolded', () => {
    const value = read(file(tensor({ shape: [2 ** 20, 2 ** 20], strides: [0, 0] }))) as TorchTensor;
    expect(value.numel).toBe(2 ** 40);
    expect(codeOf(() => value.contiguousBytes())).toBe('torch.expanded-too-large');
    const small = read(file(tensor({ shape: [3, 2], strides: [0, 1] }))) as TorchTensor;
    expect([...small.contiguousBytes()]).toEqual([...bytes(8), ...bytes(8), ...bytes(8)]);
  });

  test('damage in a storage is found when asked for', () => {
    const content = file(tensor());
    const { absoluteOffset } = read(content) as TorchTensor;
    content[absoluteOffset! + 3]! ^= 1;
    expect(codeOf(() => readAll(content))).toBeUndefined();
    expect(codeOf(() => readTorchCheckpoint(bytesReader(content), { verify: true }))).toBe('zip.crc');
  });

  function zipCheckpointWithout(): Uint8Array {
    const content = zipCheckpoint(protocol2(1));
    return Uint8Array.from(content, (byte, i) => (byte === 0x6b && content[i - 1] === 0x70 ? 0x71 : byte));
  }
});

const storage = bytes(48);
const dict = (legacy: boolean) =>
  new Map<string, unknown>([
    ['model', new Map([
      ['a.weight', tensorValue({ dtype: 'float32', key: '0', held: 6, shape: [2, 3], strides: [3, 1] }, legacy)],
      ['turned', tensorValue({ dtype: 'float32', key: '0', held: 6, shape: [3, 2], strides: [1, 3] }, legacy)],
    ])],
    ['steps', 7],
    ['ids', [tensorValue({ dtype: 'int64', key: '1', held: 3, shape: [3], strides: [1] }, legacy)]],
    ['args', new Raw(['cargparse\nNamespace\n', ')\x81', '}X\x02\x00\x00\x00lrG?PbM\xd2\xf1\xa9\xfcsb'])],
    ['none', call('torch.Size', [1, 2])],
  ]); // biome-ignore format: nested pairs
const zipped = zipCheckpoint(protocol2(dict(false)), { 0: storage.slice(0, 24), 1: storage.slice(24) });
const legacy = legacyCheckpoint(protocol2(dict(true)), {
  0: ['float32', storage.slice(0, 24)],
  1: ['int64', storage.slice(24)],
});

test.each([
  ['zip', zipped],
  ['legacy', legacy],
])('a training state in the %s layout', (_, file) => {
  // biome-ignore format: pairs
  const value = read(file);
  expect([...flattenStateDict(value).keys()]).toEqual(['model.a.weight', 'model.turned', 'ids.0']);
  expect([...flattenStateDict(value, ['model']).keys()]).toEqual(['a.weight', 'turned']);
  expect(atPath(value, ['args', 'lr'])).toBe(0.001);
  expect(atPath(value, ['none', 1])).toBe(2);
  expect((atPath(value, ['ids', 0]) as TorchTensor).contiguousBytes()).toEqual(storage.slice(24));
  expect(codeOf(() => atPath(value, ['model', 'b']))).toBe('torch.no-such-path');
  expect(() => atPath(value, ['model', 'b'])).toThrow('a.weight, turned');
});

test('names that collide once joined are refused', () => {
  const one = tensorValue({ dtype: 'uint8', key: '0', held: 1, shape: [1], strides: [1] });
  const value = read(zipCheckpoint(protocol2(new Map<string, unknown>([['a.b', one], ['a', new Map([['b', one]])]])), { 0: bytes(1) })); // biome-ignore format: pairs
  expect(codeOf(() => flattenStateDict(value))).toBe('torch.name-collision');
});

test('files cut at any byte are refused', () => {
  expectTruncationsRefused(zipped, readAll);
  expectTruncationsRefused(legacy, readAll);
});

test('damaged files are read or refused', () => {
  expectDamageSurvived(zipped, readAll, 1500);
  expectDamageSurvived(legacy, readAll, 1500);
});

// PyTorch takes its time to start.
test('files of PyTorch itself, in both layouts and all dtypes', () => {
  withPython(['torch'], (python) => {
    python.run(`
import torch, argparse, collections
base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
state = collections.OrderedDict()
for name in 'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128'.split():
    state[name] = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
state['turned'] = base.permute(2, 0, 1)
state['slice'] = base[1, :, 1:3]
state['expanded'] = torch.tensor([5.0]).expand(3)
state['scalar'] = torch.tensor(2.5)
state['empty'] = torch.zeros(0, 3)
state['parameter'] = torch.nn.Parameter(torch.ones(2))
other = {'args': argparse.Namespace(lr=0.5, name='x', big=2**70, sizes=torch.Size([2, 3]), seen={1, 2}, raw=b'a\\xffb'),
         'device': torch.device('cuda', 1), 'dtype': torch.bfloat16, 'list': [1, 2.5, None, True, -7], 3: (4,)}
for name, kind in (('zip', True), ('legacy', False)):
    for protocol in (2, 3, 4, 5):
        torch.save({'state': state, **other}, f'{name}{protocol}.pt', _use_new_zipfile_serialization=kind, pickle_protocol=protocol)
for name in 'float8_e4m3fn float8_e5m2 uint16 uint32 uint64'.split():
    torch.save(torch.arange(3).to(getattr(torch, name)), f'{name}.pt')
optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
optimizer.param_groups[0]['params'][0].grad = torch.ones(3)
optimizer.step()
torch.save(optimizer.state_dict(), 'optimizer.pt')
`);
    const floats = (value: TorchValue) => [
      ...new Float32Array((value as TorchTensor).contiguousBytes().slice().buffer),
    ];
    for (const file of ['zip', 'legacy'].flatMap((name) => [2, 3, 4, 5].map((protocol) => `${name}${protocol}.pt`))) {
      withFile(python.path(file), (reader) => {
        const value = readTorchCheckpoint(reader, { verify: true });
        const state = flattenStateDict(value, ['state']);
        expect(state.size).toBe(18);
        for (const dtype of STORAGE_DTYPES) expect(state.get(dtype)).toMatchObject({ dtype, shape: [2, 3] });
        expect(floats(state.get('float32')!)).toEqual([0, 1, 2, 3, 4, 5]);
        expect([...state.get('bfloat16')!.contiguousBytes()].slice(2, 6)).toEqual([0x80, 0x3f, 0, 0x40]);
        expect([...state.get('bool')!.contiguousBytes()]).toEqual([0, 1, 1, 1, 1, 1]);
        expect(floats(state.get('turned')!).slice(0, 7)).toEqual([0, 4, 8, 12, 16, 20, 1]);
        expect(floats(state.get('slice')!)).toEqual([13, 14, 17, 18, 21, 22]);
        expect(floats(state.get('expanded')!)).toEqual([5, 5, 5]);
        expect(floats(state.get('scalar')!)).toEqual([2.5]);
        expect(state.get('empty')).toMatchObject({ shape: [0, 3] });
        expect(state.get('parameter')).toMatchObject({ requiresGrad: true, shape: [2] });
        expect(state.get('turned')!.storage).toBe(state.get('slice')!.storage);
        const fields = Object.fromEntries((atPath(value, ['args']) as { fields: Map<string, TorchValue> }).fields);
        expect(fields).toEqual({
          lr: 0.5,
          name: 'x',
          big: 2n ** 70n,
          sizes: [2, 3],
          seen: new Set([1, 2]),
          raw: Uint8Array.of(97, 255, 98),
        });
        expect(atPath(value, ['device'])).toEqual({ kind: 'device', type: 'cuda', index: 1 });
        expect(atPath(value, ['dtype'])).toEqual({ kind: 'dtype', dtype: 'bfloat16' });
        expect(atPath(value, ['list'])).toEqual([1, 2.5, null, true, -7]);
        expect(atPath(value, [3])).toEqual([4]);
      });
    }
    for (const dtype of ['float8_e4m3fn', 'float8_e5m2', 'uint16', 'uint32', 'uint64']) {
      expect(read(readFileSync(python.path(`${dtype}.pt`)))).toMatchObject({ dtype, shape: [3] });
    }
    const optimizer = read(readFileSync(python.path('optimizer.pt')));
    expect(floats(atPath(optimizer, ['state', 0, 'step']))).toEqual([1]);
    expect(atPath(optimizer, ['param_groups', 0, 'betas'])).toEqual([0.9, 0.999]);
  });
}, 180_000);

test('a long key that leads to many values is refused before its copies fill the memory', () => {
  const key = 'k'.repeat(5000);
  const value = new Map([[key, new Map([['a', new Map()]])]]);
  expect(codeOf(() => flattenStateDict(value))).toBe('torch.name-length');
});
