/** Every operation that has an ONNX form: recorded at four sizes, run by onnxruntime-web at a fifth, compared. */

import { expect, test } from 'vitest';
import type { Tensor } from '../index.ts';
import * as T from '../index.ts';
import type { Sizes } from './affine.ts';
import { ARITHMETIC } from './lower/arithmetic.ts';
import { NETWORK } from './lower/network.ts';
import { SHAPES } from './lower/shapes.ts';
import { expectSameInOnnxruntime } from './onnxruntime.test-support.ts';
import type { recordOnnx } from './record-onnx.ts';

type Inputs = Record<string, Tensor>;
type Case = readonly [
  name: string,
  inputs: (sizes: { B: number; L: number }) => Inputs,
  run: (x: Inputs, sizes: { B: number; L: number }) => Tensor | readonly Tensor[],
];

const PROBES = [{ B: 1, L: 2 }, { B: 2, L: 2 }, { B: 1, L: 5 }, { B: 3, L: 7 }]; // biome-ignore format: one row
const ANOTHER = { B: 2, L: 4 };

/** Fixed values in [-1.6, 1.6], none of them equal. */
function values(shape: readonly number[], seed = 1): Tensor {
  const count = shape.reduce((product, side) => product * side, 1);
  const numbers = Float32Array.from({ length: count }, (_, i) => 1.6 * Math.sin(12.9898 * (i + 1) * seed + seed));
  return T.fromTypedArray(numbers, shape);
}

function integers(shape: readonly number[], below: number): Tensor {
  const count = shape.reduce((product, side) => product * side, 1);
  return T.fromTypedArray(
    BigInt64Array.from({ length: count }, (_, i) => BigInt((i * 7 + 3) % below)),
    shape,
  );
}

const x3 = ({ B, L }: { B: number; L: number }): Inputs => ({ x: values([B, L, 6]) });
const pair = ({ B, L }: { B: number; L: number }): Inputs => ({ x: values([B, L, 6]), y: values([B, L, 6], 2) });
const image = ({ B, L }: { B: number; L: number }): Inputs => ({ x: values([B, 4, L + 2, 5]) });
const attention = ({ B, L }: { B: number; L: number }): Inputs => ({
  q: values([B, 2, L, 3]),
  k: values([B, 2, L + 1, 3], 2),
  v: values([B, 2, L + 1, 5], 3),
});

const CASES: readonly Case[] = [
  ['contiguous', x3, ({ x }) => x!.transpose(0, 1).contiguous().add(0)],
  ['detach', x3, ({ x }) => x!.detach().add(0)],
  ['clone', x3, ({ x }) => x!.clone().add(0)],
  ['view', x3, ({ x }, { B, L }) => x!.view([B, L, 2, 3])],
  ['view: a product as -1', x3, ({ x }) => x!.view([-1, 6])],
  ['view: two sizes moved', x3, ({ x }, { B, L }) => x!.transpose(0, 1).contiguous().view([L, 2, B * 1, 3])],
  ['reshape', x3, ({ x }, { L }) => x!.reshape([-1, 6 * L])],
  ['reshape: computed', x3, ({ x }, { B, L }) => x!.transpose(0, 1).reshape([1, L, B, 6])],
  ['flatten', x3, ({ x }) => [x!.flatten(), x!.flatten(0, 1), x!.flatten(1)]],
  ['unflatten', x3, ({ x }) => x!.unflatten(-1, [3, 2])],
  ['view_as', pair, ({ x, y }) => x!.viewAs(y!)],
  ['squeeze', ({ B }) => ({ x: values([B, 1, 6]) }), ({ x }) => [x!.squeeze(1), x!.squeeze(2).add(0)]],
  ['unsqueeze', x3, ({ x }) => [x!.unsqueeze(-1), x!.unsqueeze(1)]],
  ['expand', ({ B }) => ({ x: values([B, 1, 6]) , l: values([7])}), ({ x }) => x!.expand([-1, 4, -1])],
  ['expand_as', ({ B, L }) => ({ x: values([B, 1, 6]), y: values([B, L, 6]) }), ({ x, y }) => x!.expandAs(y!)],
  ['broadcast_to', ({ B, L }) => ({ x: values([6]), y: values([B, L]) }), ({ x }, { B, L }) => x!.broadcastTo([B, 2 * L - 1, 6])],
  ['permute', x3, ({ x }) => x!.permute([2, 0, -2])],
  ['transpose', x3, ({ x }) => x!.transpose(-1, 0)],
  ['t', ({ B, L }) => ({ x: values([B, L]) }), ({ x }) => x!.t()],
  ['cat', pair, ({ x, y }) => [T.cat([x!, y!], -1), T.cat([x!, y!, x!], 1)]],
  ['cat: promotes', ({ L }) => ({ x: values([L]), y: integers([L], 5) }), ({ x, y }) => T.cat([x!, y!])],
  ['stack', pair, ({ x, y }) => [T.stack([x!, y!], -1), T.stack([x!, y!], 0)]],
  ['split', x3, ({ x }) => x!.split(4, -1)],
  ['split_with_sizes', x3, ({ x }, { L }) => x!.splitWithSizes([1, L - 1], 1).map((part) => part.add(0))],
  ['chunk', x3, ({ x }) => x!.chunk(3, -1)],
  ['unbind', x3, ({ x }) => x!.unbind(-1)],
  ['repeat', x3, ({ x }, { L }) => [x!.repeat([2, 1, L, 1]), x!.repeat([1, 2, 1])]],
  ['constant_pad_nd', image, ({ x }) => x!.constantPadNd([0, 1, 2, 3], 0.5)],
  ['select', x3, ({ x }, { L }) => [x!.select(1, 0), x!.select(-1, -2), x!.select(1, L - 1)]],
  ['narrow', x3, ({ x }, { L }) => [x!.narrow(1, 0, L - 1), x!.narrow(1, 1, 1), x!.narrow(-1, -2, 2)]],
  ['slice', x3, ({ x }, { L }) => [x!.slice(1, 1), x!.slice(2, 0, -1, 2), x!.slice(1, undefined, L), x!.slice(2, -3, 5)]],
  ['index_select', ({ B, L }) => ({ x: values([B, 6]), i: integers([L], 6) }), ({ x, i }) => x!.indexSelect(1, i!)],
  ['gather', ({ B, L }) => ({ x: values([B, 6]), i: integers([B, L], 6) }), ({ x, i }) => x!.gather(1, i!)],
  ['embedding', ({ B, L }) => ({ w: values([9, 4]), i: integers([B, L], 9) }), ({ w, i }) => T.embedding(w!, i!)],
  ['index', ({ B, L }) => ({ x: values([B, 6, 2]), i: integers([L], 6) }), ({ x, i }) => x!.index([undefined, i!])],
  ['tril', x3, ({ x }) => [x!.tril(), x!.tril(1)]],
  ['triu', x3, ({ x }) => [x!.triu(), x!.triu(-1)]],
  ['pixel_shuffle', image, ({ x }) => T.pixelShuffle(x!, 2)],
  ['upsample_nearest2d', image, ({ x }, { L }) => [T.upsampleNearest2d(x!, [2 * L + 4, 10]), T.upsampleNearest2d(x!, [L + 9, 7])]],
  ['zeros', x3, ({ x }, { B, L }) => x!.add(T.zeros([B, L, 1]))],
  ['ones', x3, ({ x }, { L }) => x!.add(T.ones([L, 6]))],
  ['full', x3, ({ x }, { L }) => [x!.add(T.full([L, 6], 1.5)), T.full([2], L).mul(x!.sum())]],
  ['zeros_like', x3, ({ x }) => x!.zerosLike()],
  ['ones_like', x3, ({ x }) => x!.onesLike()],
  ['full_like', ({ L }) => ({ x: integers([L, 2], 9) }), ({ x }, { L }) => [x!.fullLike(7), x!.fullLike(L)]],
  ['arange', ({ L }) => ({ x: values([L]) }), ({ x }, { L }) => [T.arange(0, L), T.arange(0, L, 1, { dtype: 'float32' }).mul(x!)]],

  ['to.dtype', ({ L }) => ({ x: integers([L], 9), f: values([L]) }), ({ x, f }) => [x!.to('float32'), f!.to('int64'), f!.to('bool')]],
  ['type_as', ({ L }) => ({ x: integers([L], 9), f: values([L]) }), ({ x, f }) => x!.typeAs(f!)],
  ['add', pair, ({ x, y }) => [x!.add(y!), x!.add(2), x!.add(y!, { alpha: -0.5 }), x!.add(1, { alpha: 3 })]],
  ['add: promotes', ({ L }) => ({ i: integers([L], 9), f: values([L]) }), ({ i, f }) => [i!.add(f!), i!.add(0.5), i!.add(2)]],
  ['sub', pair, ({ x, y }) => [x!.sub(y!), x!.sub(2), x!.sub(y!, { alpha: 2 })]],
  ['rsub', x3, ({ x }) => T.rsub(x!, 2, 3)],
  ['mul', pair, ({ x, y }) => [x!.mul(y!), x!.mul(2.5), x!.gt(0).mul(y!.gt(0))]],
  ['div', pair, ({ x, y }, { L }) => [x!.div(y!), x!.div(3), x!.div(L)]],
  ['div: of integers', ({ L }) => ({ i: integers([L], 9) }), ({ i }) => i!.div(2)],
  ['pow', pair, ({ x, y }) => [x!.abs().pow(y!), x!.pow(3)]],
  ['maximum', pair, ({ x, y }) => x!.maximum(y!)],
  ['minimum', pair, ({ x, y }) => x!.minimum(y!)],
  ['addcmul', pair, ({ x, y }) => [x!.addcmul(x!, y!), x!.addcmul(x!, y!, { value: 0.5 })]],
  ['addcdiv', pair, ({ x, y }) => [x!.addcdiv(x!, y!.abs().add(1)), x!.addcdiv(x!, y!.abs().add(1), { value: 0.5 })]],
  ['lerp', pair, ({ x, y }) => [x!.lerp(y!, 0.3), x!.lerp(y!, x!)]],
  ['neg', x3, ({ x }) => x!.neg()],
  ['abs', x3, ({ x }) => x!.abs()],
  ['sign', x3, ({ x }) => x!.sign()],
  ['exp', x3, ({ x }) => x!.exp()],
  ['exp: of integers', ({ L }) => ({ i: integers([L], 9) }), ({ i }) => i!.exp()],
  ['log', x3, ({ x }) => x!.abs().log()],
  ['sqrt', x3, ({ x }) => x!.abs().sqrt()],
  ['reciprocal', x3, ({ x }) => x!.reciprocal()],
  ['sin', x3, ({ x }) => x!.sin()],
  ['cos', x3, ({ x }) => x!.cos()],
  ['tanh', x3, ({ x }) => x!.tanh()],
  ['erf', x3, ({ x }) => x!.erf()],
  ['floor', x3, ({ x }) => x!.floor()],
  ['ceil', x3, ({ x }) => x!.ceil()],
  ['round', x3, ({ x }) => [x!.round(), T.tensor([0.5, 1.5, 2.5]).round().add(x!.sum())]],
  ['rsqrt', x3, ({ x }) => x!.abs().rsqrt()],
  ['square', x3, ({ x }) => x!.square()],
  ['clamp', x3, ({ x }) => [x!.clamp(-0.5, 0.5), x!.clamp(0), x!.clamp(undefined, 0)]],
  ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((op): Case => [
    op,
    ({ L }) => ({ i: integers([L], 4), j: integers([L, 1], 3), f: values([L]) }),
    ({ i, j, f }) => [i![op](j!), i![op](2), i![op](1.5), i![op](f!)],
  ]),
  ['logical_and', pair, ({ x, y }) => x!.gt(0).logicalAnd(y!.gt(0))],
  ['logical_or', pair, ({ x, y }) => x!.gt(0).logicalOr(y!.gt(0))],
  ['logical_not', x3, ({ x }) => x!.gt(0).logicalNot()],
  ['where', pair, ({ x, y }) => T.where(x!.gt(0), x!, y!)],
  ['masked_fill', pair, ({ x, y }) => [x!.maskedFill(y!.gt(0), -3), x!.maskedFill(y!.gt(0), T.tensor(0.25))]],
  ['sum', x3, ({ x }) => [x!.sum(), x!.sum([1]), x!.sum([0, -1], true), x!.gt(0).sum([1])]],
  ['mean', x3, ({ x }) => [x!.mean(), x!.mean([1, 2]), x!.mean([-1], true)]],
  ['amax', x3, ({ x }) => [x!.amax(), x!.amax([1], true)]],
  ['amin', x3, ({ x }) => x!.amin([-1])],
  ['logsumexp', x3, ({ x }) => x!.logsumexp([1])],
  ['linalg_vector_norm', x3, ({ x }) => [T.linalgVectorNorm(x!, 2, [-1], true), T.linalgVectorNorm(x!, 1)]],
  ['argmax', x3, ({ x }) => [x!.argmax(-1), x!.argmax(1, true), x!.argmax()]],
  ['argmin', x3, ({ x }) => [x!.argmin(1), x!.argmin()]],
  ['max.dim', x3, ({ x }) => x!.maxDim(1)],
  ['min.dim', x3, ({ x }) => x!.minDim(-1, true)],
  ['cumsum', x3, ({ x }) => x!.cumsum(1)],
  ['topk', x3, ({ x }, { L }) => [...x!.topk(L, 1), ...x!.topk(2, -1, false)]],

  ['matmul', pair, ({ x, y }) => x!.matmul(y!.transpose(1, 2))],
  ['mm', ({ L }) => ({ x: values([L, 3]), y: values([3, 4]) }), ({ x, y }) => x!.mm(y!)],
  ['bmm', pair, ({ x, y }) => x!.bmm(y!.transpose(1, 2))],
  ['addmm', ({ L }) => ({ x: values([L, 3]), y: values([3, 4]), z: values([4]) }), ({ x, y, z }) => [z!.addmm(x!, y!), z!.addmm(x!, y!, { beta: 0.5, alpha: 2 })]],
  ['baddbmm', ({ B, L }) => ({ x: values([B, L, 3]), y: values([B, 3, 4]), z: values([4]) }), ({ x, y, z }) => z!.baddbmm(x!, y!)],
  ['linear', ({ B, L }) => ({ x: values([B, L, 3]), w: values([4, 3]), b: values([4]) }), ({ x, w, b }) => [T.linear(x!, w!, b!), T.linear(x!, w!)]],
  ['cdist', ({ B, L }) => ({ x: values([B, L, 3]), y: values([5, 3], 2) }), ({ x, y }) => T.cdist(x!, y!.unsqueeze(0))],
  ['conv2d', (s) => ({ ...image(s), w: values([6, 2, 3, 2]), b: values([6]) }), ({ x, w, b }) => [T.conv2d(x!, w!, b!, [2, 1], [1, 0], [1, 2], 2), T.conv2d(x!, w!, undefined, [1], [1], [1], 2)]],
  ['avg_pool2d', image, ({ x }) => [T.avgPool2d(x!, [2, 2]), T.avgPool2d(x!, [3, 3], [1, 1], [1, 1]), T.avgPool2d(x!, [3], [2], [1], true, false)]],
  ['layer_norm', ({ B, L }) => ({ x: values([B, L, 6]), w: values([6]), b: values([6], 2) }), ({ x, w, b }) => [T.layerNorm(x!, [6], w!, b!, 1e-3), T.layerNorm(x!, [6], undefined, undefined, 1e-6), T.layerNorm(x!, [6], w!)]],
  ['group_norm', (s) => ({ ...image(s), w: values([4]), b: values([4], 2) }), ({ x, w, b }) => [T.groupNorm(x!, 2, w!, b!, 1e-3), T.groupNorm(x!, 4)]],
  ['rms_norm', ({ B, L }) => ({ x: values([B, L, 6]), w: values([6]) }), ({ x, w }) => [T.rmsNorm(x!, [6], w!, 1e-3), T.rmsNorm(x!, [6])]],
  ['scaled_dot_product_attention', attention, ({ q, k, v }) => [T.scaledDotProductAttention(q!, k!, v!), T.scaledDotProductAttention(q!, k!, v!, { scale: 0.7 })]],
  ['scaled_dot_product_attention: masks', (s) => ({ ...attention(s), m: values([s.L, s.L + 1], 4) }), ({ q, k, v, m }) => [T.scaledDotProductAttention(q!, k!, v!, { attnMask: m! }), T.scaledDotProductAttention(q!, k!, v!, { attnMask: m!.gt(-1.5) }), T.scaledDotProductAttention(q!, k!, v!, { isCausal: true })]],
  ['dropout', x3, ({ x }) => T.dropout(x!, 0.5, false).add(0)],
  ['relu', x3, ({ x }) => x!.relu()],
  ['leaky_relu', x3, ({ x }) => T.leakyRelu(x!, 0.2)],
  ['gelu', x3, ({ x }) => [T.gelu(x!), T.gelu(x!, { approximate: 'tanh' })]],
  ['silu', x3, ({ x }) => T.silu(x!)],
  ['sigmoid', x3, ({ x }) => x!.sigmoid()],
  ['softmax', x3, ({ x }) => [x!.softmax(-1), x!.softmax(1)]],
  ['log_softmax', x3, ({ x }) => x!.logSoftmax(-1)],
]; // biome-ignore format: one row a case

test.each(CASES)('%s', async (name, inputs, run) => {
  const list = (x: Inputs, sizes: { B: number; L: number }): Inputs =>
    Object.fromEntries([run(x, sizes)].flat().map((tensor, i) => [`out${i}`, tensor]));
  const recording = {
    name,
    probes: PROBES,
    constants: new Map<string, Tensor>(),
    inputs: (sizes: Sizes) => inputs(sizes as { B: number; L: number }),
    run: (x: Inputs, sizes: Sizes) => list(x, sizes as { B: number; L: number }),
  };
  await expectSameInOnnxruntime(recording as Parameters<typeof recordOnnx>[0], ANOTHER, 2e-5);
});

test('no lowering is without a case', () => {
  const covered = new Set(CASES.map(([name]) => name.split(':')[0]));
  const all = Object.keys({ ...SHAPES, ...ARITHMETIC, ...NETWORK });
  expect(all.filter((name) => !covered.has(name))).toEqual([]);
});
