import { describe, expect, test } from 'vitest';
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { delimitedField, varintField } from '../protobuf.ts';
import type { OnnxGraph, OnnxModel } from './model.ts';
import { readOnnx } from './read.ts';
import { encodeOnnx, onnxChunks } from './write.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const read = (bytes: Uint8Array) => readOnnx(bytesReader(bytes, 'model.onnx'));
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

const GRAPH: OnnxGraph = {
  name: 'two nodes',
  nodes: [
    { op: 'Gemm', name: 'gemm', inputs: ['x', 'w', ''], outputs: ['y'], attributes: { alpha: { float: 0.5 }, transB: { int: 1 } } },
    {
      op: 'Resize',
      name: 'résumé',
      inputs: ['y'],
      outputs: ['z', 'unused'],
      attributes: {
        axes: { ints: [-1, 2 ** 40] },
        none: { ints: [] },
        mode: { text: 'nearest' },
        value: { tensor: { dtype: 'int64', shape: [], bytes: new Uint8Array(BigInt64Array.of(-7n).buffer) } },
      },
    },
  ],
  initializers: new Map([
    ['w', { dtype: 'float32', shape: [1, 2], bytes: floats(1.5, -2) }],
    ['half', { dtype: 'float16', shape: [2], bytes: Uint8Array.of(0, 0x3c, 0, 0xbc) }],
    ['empty', { dtype: 'uint8', shape: [0, 3], bytes: new Uint8Array(0) }],
    ['mask', { dtype: 'bool', shape: [2], bytes: Uint8Array.of(1, 0) }],
    ['small', { dtype: 'int8', shape: [], bytes: Uint8Array.of(0xff) }],
  ]),
  inputs: [{ name: 'x', dtype: 'float32', shape: ['B', 2] }],
  outputs: [{ name: 'z', dtype: 'float32', shape: ['B', '2*L+1', 4] }],
}; // biome-ignore format: one node a line
const MODEL: OnnxModel = { opset: 20, producer: 'Tessera', graph: GRAPH, metadata: { sizes: 'B' } };

test('what is written is read back', () => {
  expect(read(encodeOnnx(MODEL))).toEqual(MODEL);
});

test('the exact bytes of the smallest model', () => {
  const graph = { name: 'g', nodes: [], initializers: new Map(), inputs: [], outputs: [] };
  const bytes = encodeOnnx({ opset: 17, producer: 't', graph });
  // ir_version 8; producer_name "t"; opset_import { domain "", version 17 }; graph { name "g" }
  expect(hex(bytes)).toBe('0808' + '120174' + '42040a001011' + '3a03120167');
});

test('the bytes of initializers are handed on, not copied', () => {
  const { bytes } = GRAPH.initializers.get('w')!;
  expect(onnxChunks(MODEL).some((piece) => piece === bytes)).toBe(true);
});

describe('hostile files', () => {
  const bytes = encodeOnnx(MODEL);
  const graphOf = (...fields: Uint8Array[]) =>
    concatBytes([delimitedField(8, varintField(2, 20)), delimitedField(7, concatBytes(fields))]);
  const node = (...fields: Uint8Array[]) => delimitedField(1, concatBytes([delimitedField(4, 'Add'), ...fields]));
  const tensor = (...fields: Uint8Array[]) => delimitedField(5, concatBytes([delimitedField(8, 't'), ...fields]));

  test('cut at any byte: refused', () => expectTruncationsRefused(bytes, read));
  test('damaged at random: read or refused', () => expectDamageSurvived(bytes, read, 1000));

  test('a list of a million numbers is only a list', () => {
    const shape = delimitedField(1, new Uint8Array(1_000_000));
    expect(codeOf(() => read(graphOf(tensor(shape, varintField(2, 1)))))).toBe(undefined);
  });

  test('a length far beyond the file allocates nothing', () => {
    expect(codeOf(() => read(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)))).toBe(
      'onnx.message',
    );
  });

  test.each([
    ['graph', delimitedField(8, varintField(2, 20))],
    ['opset', delimitedField(7, delimitedField(2, 'g'))],
    ['functions', delimitedField(25, '')],
    ['node', graphOf(delimitedField(1, delimitedField(3, 'n')))],
    ['undefined-value', graphOf(node(delimitedField(1, 'nowhere')))],
    ['name', graphOf(node(delimitedField(2, 'a')), node(delimitedField(2, 'a')))],
    ['name', graphOf(...Array(2).fill(tensor(varintField(2, 2), varintField(1, 1), delimitedField(9, 'a'))))],
    ['undefined-value', graphOf(delimitedField(12, concatBytes([delimitedField(1, 'o'), delimitedField(2, delimitedField(1, varintField(1, 1)))])))],
    ['attribute', graphOf(node(delimitedField(5, delimitedField(6, ''))))],
    ['attribute', graphOf(node(delimitedField(5, concatBytes([varintField(3, 1), varintField(20, 1)]))))],
    ['dtype', graphOf(tensor(varintField(2, 8)))],
    ['dtype', graphOf(tensor(delimitedField(9, '')))],
    ['tensor-data', graphOf(tensor(varintField(2, 1), delimitedField(13, '')))],
    ['tensor-size', graphOf(tensor(varintField(2, 1), varintField(1, 2), delimitedField(9, 'abcd')))],
    ['tensor-size', graphOf(tensor(varintField(2, 1), varintField(1, -2), varintField(1, -2)))],
    ['number', graphOf(tensor(varintField(1, 2 ** 60)))],
    ['sparse', graphOf(delimitedField(15, ''))],
    ['type', graphOf(delimitedField(11, delimitedField(1, 'x')))],
    ['type', graphOf(delimitedField(11, delimitedField(2, delimitedField(4, ''))))],
    ['wire', graphOf(varintField(1, 3))],
    ['text', graphOf(delimitedField(2, Uint8Array.of(0xff)))],
  ])('%s', (rule, hostile) => {
    expect(codeOf(() => read(hostile))).toBe(`onnx.${rule}`);
  }); // biome-ignore format: a rule a line
});

describe('what cannot be written', () => {
  const write = (changes: Partial<OnnxGraph>) => () => encodeOnnx({ ...MODEL, graph: { ...GRAPH, ...changes } });
  const big = { dtype: 'uint8', shape: [2 ** 31], bytes: { byteLength: 2 ** 31 } as Uint8Array } as const;
  const complex = { dtype: 'complex64', shape: [1], bytes: new Uint8Array(8) } as const;

  test.each([
    ['opset', () => encodeOnnx({ ...MODEL, opset: 3 })],
    ['undefined-value', write({ inputs: [] })],
    ['undefined-value', write({ outputs: [{ name: 'elsewhere', dtype: 'float32', shape: [] }] })],
    ['name', write({ inputs: [...GRAPH.inputs, ...GRAPH.inputs] })],
    ['tensor-size', write({ initializers: new Map([['w', { dtype: 'float32', shape: [3], bytes: floats(1) }]]) })],
    ['dtype', write({ initializers: new Map([['w', complex]]) })],
    ['too-large', () => onnxChunks({ ...MODEL, graph: { ...GRAPH, initializers: new Map([['w', big]]) } })],
  ])('%s', (rule, attempt) => {
    expect(codeOf(attempt)).toBe(`onnx.write-${rule}`);
  });
});
