// Lowerings of products and layers. What ONNX has no node for is written out in nodes that every runtime has.

import type { Call, Lowering } from '../call.ts';

export const NETWORK: Readonly<Record<string, Lowering>> = {
  matmul: (c) => c.node('MatMul', [c.tensor('self'), c.tensor('other')]),
  mm: (c) => c.node('MatMul', [c.tensor('self'), c.tensor('mat2')]),
  bmm: (c) => c.node('MatMul', [c.tensor('self'), c.tensor('mat2')]),
  addmm: (c) => sumOfProducts(c, c.node('MatMul', [c.tensor('mat1'), c.tensor('mat2')])),
  baddbmm: (c) => sumOfProducts(c, c.node('MatMul', [c.tensor('batch1'), c.tensor('batch2')])),
  linear: (c) => {
    // The weight keeps its official layout [out, in]; runtimes transpose constants once, when they load the graph.
    const weight = c.node('Transpose', [c.tensor('weight')], { perm: { ints: [1, 0] } });
    const product = c.node('MatMul', [c.tensor('input'), weight]);
    const bias = c.optionalTensor('bias');
    return bias === undefined ? product : c.node('Add', [product, bias]);
  },
  cdist: (c) => {
    if (c.number('p') !== 2) return c.refuse(`only the Euclidean distance can be exported, got p = ${c.number('p')}`);
    const [a, b] = [c.tensor('x1'), c.tensor('x2')];
    const rank = c.shape('x2').length;
    const squares = (x: string): string => c.node('ReduceSum', [c.node('Mul', [x, x]), c.vector([-1])]); // [..., n, 1]
    const product = c.node('MatMul', [a, swapLast(c, b, rank)]);
    const twice = c.node('Mul', [product, c.scalar(2, c.resultDtype())]);
    const all = c.node('Sub', [c.node('Add', [squares(a), swapLast(c, squares(b), rank)]), twice]);
    return c.node('Sqrt', [c.node('Max', [all, c.scalar(0, c.resultDtype())])]); // rounding may leave it below zero
  },

  conv2d: (c) =>
    c.node('Conv', [c.tensor('input'), c.tensor('weight'), c.optionalTensor('bias')], {
      kernel_shape: { ints: [2, 3].map((axis) => c.fixedSide(c.shape('weight'), axis)) },
      strides: { ints: pair(c.numbers('stride')) },
      pads: { ints: [...pair(c.numbers('padding')), ...pair(c.numbers('padding'))] },
      dilations: { ints: pair(c.numbers('dilation')) },
      group: { int: c.number('groups') },
    }),
  avg_pool2d: (c) => {
    const kernel = pair(c.numbers('kernelSize'));
    const stride = c.numbers('stride');
    if (!c.isAbsent('divisorOverride')) return c.refuse('a divisor of its own cannot be exported');
    return c.node('AveragePool', [c.tensor('self')], {
      kernel_shape: { ints: kernel },
      strides: { ints: stride.length === 0 ? kernel : pair(stride) },
      pads: { ints: [...pair(c.numbers('padding')), ...pair(c.numbers('padding'))] },
      ceil_mode: { int: Number(c.flag('ceilMode')) },
      count_include_pad: { int: Number(c.flag('countIncludePad')) },
    });
  },

  layer_norm: (c) => {
    const shape = c.numbers('normalizedShape');
    const ones = (): string => c.node('Expand', [c.scalar(1, c.resultDtype()), c.vector(shape)]);
    return c.node(
      'LayerNormalization',
      [c.tensor('input'), c.optionalTensor('weight') ?? ones(), c.optionalTensor('bias')],
      {
        axis: { int: -shape.length },
        epsilon: { float: c.number('eps') },
      },
    );
  },
  group_norm: (c) => {
    const [x, groups, dtype] = [c.tensor('input'), c.number('numGroups'), c.resultDtype()];
    // Instances of [N, G, everything else]: each group is normalised alone, then scaled by channel.
    const grouped = c.node('Reshape', [x, c.vector([0, groups, -1])]);
    const [ones, zeros] = [1, 0].map((value) => c.builder.constant(dtype, [groups], Array(groups).fill(value)));
    const normal = c.node('InstanceNormalization', [grouped, ones, zeros], { epsilon: { float: c.number('eps') } });
    const h = c.node('Reshape', [normal, c.node('Shape', [x])]);
    const spatial = c
      .shape('input')
      .slice(2)
      .map((_, i) => i + 1);
    const byChannel = (name: string): string => c.node('Unsqueeze', [name, c.vector(spatial)]); // [C, 1, 1]
    const [weight, bias] = [c.optionalTensor('weight'), c.optionalTensor('bias')];
    const scaled = weight === undefined ? h : c.node('Mul', [h, byChannel(weight)]);
    return bias === undefined ? scaled : c.node('Add', [scaled, byChannel(bias)]);
  },
  rms_norm: (c) => {
    const axes = c.numbers('normalizedShape').map((_, i) => -1 - i);
    const [x, dtype] = [c.tensor('input'), c.resultDtype()];
    const mean = c.node('ReduceMean', [c.node('Mul', [x, x]), c.vector(axes)]);
    // Without one, torch takes the smallest step above 1 of float32.
    const eps = c.scalar(c.optionalNumber('eps') ?? 2 ** -23, dtype);
    const normal = c.node('Div', [x, c.node('Sqrt', [c.node('Add', [mean, eps])])]);
    const weight = c.optionalTensor('weight');
    return weight === undefined ? normal : c.node('Mul', [normal, weight]);
  },

  scaled_dot_product_attention: attention,
  dropout: (c) => (c.flag('train') ? c.refuse('record the model without dropout') : c.tensor('input')),
  relu: (c) => c.node('Relu', [c.tensor('self')]),
  leaky_relu: (c) => c.node('LeakyRelu', [c.tensor('self')], { alpha: { float: c.number('negativeSlope') } }),
  gelu: (c) => c.node('Gelu', [c.tensor('self')], { approximate: { text: c.text('approximate') } }),
  silu: (c) => c.node('Mul', [c.tensor('self'), c.node('Sigmoid', [c.tensor('self')])]),
  sigmoid: (c) => c.node('Sigmoid', [c.tensor('self')]),
  softmax: (c) => c.node('Softmax', [input(c)], { axis: { int: c.number('dim') } }),
  log_softmax: (c) => c.node('LogSoftmax', [input(c)], { axis: { int: c.number('dim') } }),
};

/** softmax(q kᵀ · scale + mask) v */
function attention(c: Call): string {
  if (c.number('dropoutP') !== 0) return c.refuse('record the model without dropout');
  if (c.flag('enableGqa')) return c.refuse('repeat the heads of keys and values in the model');
  const dtype = c.resultDtype();
  const [q, k] = [c.shape('query'), c.shape('key')];
  const scale = c.optionalNumber('scale') ?? 1 / Math.sqrt(c.fixedSide(q, q.length - 1));
  const scaledQuery = c.node('Mul', [c.tensor('query'), c.scalar(scale, dtype)]);
  let scores = c.node('MatMul', [scaledQuery, swapLast(c, c.tensor('key'), k.length)]); // [..., Lq, Lk]
  const never = (): string => c.scalar(Number.NEGATIVE_INFINITY, dtype);
  if (c.isTensor('attnMask')) {
    const mask = c.tensor('attnMask');
    scores = c.dtype('attnMask') === 'bool' ? c.node('Where', [mask, scores, never()]) : c.node('Add', [scores, mask]);
  }
  if (c.flag('isCausal')) {
    const ones = c.node('Expand', [c.scalar(1, 'float32'), c.node('Shape', [scores], { start: { int: -2 } })]);
    const seen = c.cast(c.node('Trilu', [ones], { upper: { int: 0 } }), 'float32', 'bool');
    scores = c.node('Where', [seen, scores, never()]);
  }
  return c.node('MatMul', [c.node('Softmax', [scores], { axis: { int: -1 } }), c.tensor('value')]);
}

/** beta · self + alpha · product */
function sumOfProducts(c: Call, product: string): string {
  const scaled = (name: string, factor: number): string =>
    factor === 1 ? name : c.node('Mul', [name, c.scalar(factor, c.resultDtype())]);
  return c.node('Add', [scaled(c.tensor('self'), c.number('beta')), scaled(product, c.number('alpha'))]);
}

function swapLast(c: Call, name: string, rank: number): string {
  const order = Array.from({ length: rank }, (_, i) => i);
  [order[rank - 2], order[rank - 1]] = [rank - 1, rank - 2];
  return c.node('Transpose', [name], { perm: { ints: order } });
}

/** `self` in the dtype that was asked for. */
function input(c: Call): string {
  return c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype());
}

/** One number for both directions, or two. */
function pair(numbers: readonly number[]): number[] {
  return numbers.length === 1 ? [numbers[0]!, numbers[0]!] : [...numbers];
}
