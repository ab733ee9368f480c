import type { OnnxModel } from '@tessera/formats';
import { describe, expect, test } from 'vitest';
import type { Tensor } from '../index.ts';
import * as T from '../index.ts';
import type { Sizes } from './affine.ts';
import { expectSameInOnnxruntime, runOnnx } from './onnxruntime.test-support.ts';
import { type Recording, recordOnnx } from './record-onnx.ts';
import { RecorderError } from './recorder-error.ts';

const PROBES = [{ L: 2 }, { L: 3 }, { L: 5 }];
type Inputs = Readonly<Record<string, Tensor>>;

function recording(
  run: (inputs: Inputs, sizes: Sizes) => Tensor | Inputs,
  changes: Partial<Recording> = {},
): Recording {
  return {
    name: 'test',
    probes: PROBES,
    constants: new Map(),
    inputs: ({ L }) => ({ x: T.ones([L!, 4]) }),
    run: (inputs, sizes) => {
      const result = run(inputs, sizes);
      return result instanceof T.Tensor ? { y: result } : result;
    },
    ...changes,
  };
}

const ops = (model: OnnxModel): string[] => model.graph.nodes.map(({ op }) => op);

test('a layer as a graph: official names, named sides, nothing that is not needed', async () => {
  const weights = new Map(Object.entries({ 'fc.weight': T.ones([3, 4]), 'fc.bias': T.ones([3]), unused: T.ones([9]) }));
  const layer = (x: Tensor) => T.linear(x, weights.get('fc.weight')!, weights.get('fc.bias')!);
  const made = recording(
    ({ x }) => {
      x!.exp(); // leads nowhere
      return layer(x!);
    },
    { constants: weights },
  );
  const { graph, opset } = await expectSameInOnnxruntime(made, { L: 7 });
  expect(opset).toBe(20);
  expect(graph.inputs).toEqual([{ name: 'x', dtype: 'float32', shape: ['L', 4] }]);
  expect(graph.outputs).toEqual([{ name: 'y', dtype: 'float32', shape: ['L', 3] }]);
  expect([...graph.initializers.keys()]).toEqual(['fc.weight', 'fc.bias']);
  expect(graph.nodes.map(({ op }) => op)).toEqual(['Transpose', 'MatMul', 'Add', 'Identity']);
  for (const tensor of weights.values()) tensor.dispose();
});

test('no tensor outlives a recording, also one that fails', () => {
  const before = T.memoryStats().liveTensors;
  recordOnnx(recording(({ x }) => x!.add(1)));
  expect(() => recordOnnx(recording(({ x }) => x!.add(T.randn([4]))))).toThrow(RecorderError);
  expect(T.memoryStats().liveTensors).toBe(before);
});

test('an output may be an input, a constant, or the same value twice', async () => {
  const scale = T.tensor([1, 2, 3, 4]);
  const both = recording(({ x }) => ({ same: x!.detach(), again: x!.detach(), scale }), {
    constants: new Map([['s', scale]]),
  });
  await expectSameInOnnxruntime(both, { L: 4 });
  scale.dispose();
});

test('a side that is a product gets a name of its own', () => {
  const { graph } = recordOnnx(recording(({ x }, { L }) => x!.unsqueeze(0).expand([L!, -1, -1]).flatten(0, 1)));
  expect(graph.outputs[0]!.shape).toEqual(['y_0', 4]);
});

test('shapes are constants where they can be, and computed from an input where they must', async () => {
  const constant = recording(({ x }, { L }) => x!.view([L!, 2, 2]));
  expect(ops(await expectSameInOnnxruntime(constant, { L: 6 }))).toEqual(['Reshape', 'Identity']);
  const computed = recording(({ x }, { L }) => x!.sum().expand([3 * L! + 1, L!]), {
    inputs: ({ L }) => ({ x: T.ones([2 * L! - 1, 4]) }),
  });
  const model = await expectSameInOnnxruntime(computed, { L: 6 });
  expect(ops(model)).toEqual(['ReduceSum', 'Shape', 'Sub', 'Div', 'Mul', 'Add', 'Concat', 'Expand', 'Identity']);
});

test('small tensors made of numbers become constants', async () => {
  await expectSameInOnnxruntime(
    recording(({ x }) => x!.add(T.tensor([1, 2, 3, 4]))),
    { L: 4 },
  );
});

test('a size that the graph was not fitted to still runs', async () => {
  const model = recordOnnx(recording(({ x }) => x!.sum([0])));
  const { y } = await runOnnx(model, { x: [new Float32Array(4000).fill(1), 'float32', [1000, 4]] });
  expect(y!.values).toEqual([1000, 1000, 1000, 1000]);
});

test('operations in place are recorded as what later reads see', async () => {
  const made = recording(({ x }) => {
    const h = x!.exp();
    const before = h.mul(2);
    h.add_(1);
    const after = h.mul(3);
    T.silu_(h.mul_(x!));
    h.narrow(0, 0, 1); // a view made after the last write
    return { before, after, h };
  });
  await expectSameInOnnxruntime(made, { L: 4 });
});

describe('what cannot be recorded says which operation, why and where', () => {
  const HERE = /record-onnx\.test\.ts:\d+/;

  test.each<[string, RecorderError['code'], RegExp, Recording]>([
    ['an operation without a form', 'UNSUPPORTED', /^flip: has no ONNX form/, recording(({ x }) => x!.flip([0]))],
    ['one that fills its operand', 'UNSUPPORTED', /^zero_: has no ONNX form/, recording(({ x }) => x!.zero_())],
    ['noise', 'UNSUPPORTED', /^randn_like: has no/, recording(({ x }) => x!.randnLike())],
    ['a square', 'NOT_AFFINE', /^expand: size is \[4,4\], \[9,4\], \[25,4\] at the probes, no affine function of L/, recording(({ x }, { L }) => x!.sum([0], true).expand([L! * L!, 4]))],
    ['a half', 'NOT_AFFINE', /^narrow: length is 1, 1, 2/, recording(({ x }, { L }) => x!.narrow(0, 0, Math.floor(L! / 2)))],
    ['a fraction that varies', 'NOT_AFFINE', /^mul: other is 0\.5, /, recording(({ x }, { L }) => x!.mul(1 / L!))],
    ['a branch on sizes', 'STRUCTURE', /^exp: another probe runs log here: code branches on sizes/, recording(({ x }, { L }) => (L! > 2 ? x!.log() : x!.exp()))],
    ['more operations at one probe', 'STRUCTURE', /^add: runs at one probe and not at another/, recording(({ x }, { L }) => (L! > 2 ? x!.exp().add(1) : x!.exp()))],
    ['fewer operations at one probe', 'STRUCTURE', /^add: another probe runs nothing here/, recording(({ x }, { L }) => (L! < 3 ? x!.exp().add(1) : x!.exp()))],
    ['another operand at one probe', 'STRUCTURE', /^add: other is another tensor/, recording(({ x }, { L }) => { const y = x!.exp(); return x!.add(L! > 2 ? x! : y); })],
    ['another list at one probe', 'STRUCTURE', /^sum: dim is \[0\], \[0,1\]/, recording(({ x }, { L }) => x!.sum(L! > 2 ? [0, 1] : [0], true))],
    ['an axis that varies', 'UNSUPPORTED', /^softmax: dim is L-2; here only a fixed number/, recording(({ x }, { L }) => x!.unsqueeze(2).unsqueeze(3).softmax(L! - 2))],
    ['looking at values', 'UNSUPPORTED', /^equal gives a boolean: model code must not look at values/, recording(({ x }) => (x!.equal(x!) ? x! : x!.exp()))],
    ['dropout', 'UNSUPPORTED', /^dropout: record the model without dropout/, recording(({ x }) => T.dropout(x!, 0.5, true))],
    ['what a mask picks', 'UNSUPPORTED', /^index: the size of what a mask picks/, recording(({ x }) => x!.index([x!.gt(0)]))],
  ])('%s', (_, code, message, made) => {
    let error: unknown;
    try {
      recordOnnx(made);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(RecorderError);
    expect((error as RecorderError).code).toBe(code);
    expect((error as Error).message).toMatch(message);
    if (!/looking/.test(_)) expect((error as Error).message).toMatch(HERE);
  }); // biome-ignore format: a case a line

  test('a constant with other values at another probe', () => {
    const made = recording(({ x }, { L }) => x!.add(T.tensor([L!, 1, 1, 1])));
    expect(() => recordOnnx(made)).toThrow(/no operation made, float32 \[4\], has other values/);
  });

  test('a parameter that nobody named', () => {
    const large = T.ones([300, 300]);
    expect(() => recordOnnx(recording(({ x }) => x!.sum().add(large)))).toThrow(
      /^add uses a tensor of unknown origin, float32 \[300, 300\]/,
    );
    large.dispose();
  });

  test('a read through one view of what was written through another', () => {
    const throughView = recording(({ x }) => {
      const h = x!.exp();
      h.narrow(0, 0, 1).add_(1);
      return h.mul(2);
    });
    expect(() => recordOnnx(throughView)).toThrow(/^mul reads float32 \[2, 4\] after it was written over/);
    const oldView = recording(({ x }) => {
      const h = x!.exp();
      const view = h.t();
      h.add_(1);
      return view.mul(2);
    });
    expect(() => recordOnnx(oldView)).toThrow(/^mul reads float32 \[4, 2\] after it was written over/);
  });

  test('writing over a constant', () => {
    const w = T.ones([4]);
    const made = recording(({ x }) => x!.add(w.detach().add_(1)), { constants: new Map([['w', w]]) });
    expect(() => recordOnnx(made)).toThrow(/^add_ writes over a constant/);
    w.dispose();
  });

  test('a gradient', () => {
    const made = recording(({ x }) => {
      T.enableGrad(() => x!.requiresGrad_().sum().backward());
      return x!;
    });
    expect(() => recordOnnx(made)).toThrow(/^backward cannot be recorded/);
  });

  test('a size that no input shows', () => {
    const made = recording((_, { L }) => T.ones([L!]), { inputs: () => ({ x: T.ones([2]) }) });
    expect(() => recordOnnx(made)).toThrow(/the size L is needed when the graph runs/);
  });

  test('other outputs at another probe', () => {
    const made = recording(({ x }, { L }): Inputs => (L! > 2 ? { a: x! } : { b: x! }));
    expect(() => recordOnnx(made)).toThrow(/different outputs/);
  });
});

test('refuses results whose rank follows a size, and heads that only some engines share', () => {
  const squeezed = recording(({ x }) => x!.squeeze(0), { probes: [{ L: 1 }, { L: 2 }, { L: 3 }] });
  expect(() => recordOnnx(squeezed)).toThrow(/squeeze.*code branches on sizes, at .*record-onnx\.test\.ts/);
  const inputs = ({ L }: Sizes): Inputs => ({ q: T.ones([1, 4, L!, 8]), k: T.ones([1, 2, L!, 8]) });
  const grouped = recording(({ q, k }) => T.scaledDotProductAttention(q!, k!, k!, { enableGqa: true }), { inputs });
  expect(() => recordOnnx(grouped)).toThrow('repeat the heads of keys and values');
});
