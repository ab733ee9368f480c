// Lowerings of operations that move values about: shapes, slices, joins, lookups.

import { type Dimension, ratioOf, sumOf, textOf } from '../affine.ts';
import type { Call, Lowering } from '../call.ts';

export const SHAPES: Readonly<Record<string, Lowering>> = {
  // Memory order and gradients mean nothing in a graph.
  contiguous: (c) => c.tensor('self'),
  detach: (c) => c.tensor('self'),
  clone: (c) => c.tensor('self'),

  view: (c) => reshape(c),
  reshape: (c) => reshape(c),
  flatten: (c) => reshape(c),
  unflatten: (c) => reshape(c),
  view_as: (c) => reshape(c),
  squeeze: (c) => (c.resultShape().length === c.shape('self').length ? c.tensor('self') : reshape(c)),
  unsqueeze: (c) => {
    const axis = c.axis('dim', c.resultShape().length);
    return c.node('Unsqueeze', [c.tensor('self'), c.vector([axis])]);
  },
  expand: (c) => expand(c),
  expand_as: (c) => expand(c),
  broadcast_to: (c) => expand(c),

  permute: (c) => transpose(c, c.numbers('dims')),
  transpose: (c) => {
    const rank = c.shape('self').length;
    const order = Array.from({ length: rank }, (_, i) => i);
    const [a, b] = [c.axis('dim0', rank), c.axis('dim1', rank)];
    [order[a], order[b]] = [b, a];
    return transpose(c, order);
  },
  t: (c) => (c.shape('self').length < 2 ? c.tensor('self') : transpose(c, [1, 0])),

  cat: (c) => c.node('Concat', sameDtype(c), { axis: { int: c.number('dim') } }),
  stack: (c) => {
    const axis = c.axis('dim', c.resultShape().length);
    const parts = sameDtype(c).map((part) => c.node('Unsqueeze', [part, c.vector([axis])]));
    return c.node('Concat', parts, { axis: { int: axis } });
  },
  split: (c) => split(c),
  split_with_sizes: (c) => split(c),
  chunk: (c) => split(c),
  unbind: (c) => {
    const axis = c.axis('dim', c.shape('self').length);
    return Array.from({ length: c.numResults }, (_, i) => pick(c, axis, i));
  },
  repeat: (c) => {
    const [repeats, rank] = [c.dimensions('repeats'), c.shape('self').length];
    const front = Array.from({ length: repeats.length - rank }, (_, i) => i);
    const x = front.length === 0 ? c.tensor('self') : c.node('Unsqueeze', [c.tensor('self'), c.vector(front)]);
    return c.node('Tile', [x, c.vector(repeats)]);
  },
  constant_pad_nd: (c) => {
    const pad = c.numbers('pad'); // pairs of before and after, the last dimension first
    const rank = c.shape('self').length;
    const at = (axis: number, side: 0 | 1): number => pad[2 * (rank - 1 - axis) + side] ?? 0;
    const axes = Array.from({ length: rank }, (_, axis) => axis);
    const both = [...axes.map((axis) => at(axis, 0)), ...axes.map((axis) => at(axis, 1))];
    return c.node('Pad', [c.tensor('self'), c.vector(both), c.scalar(c.number('value'), c.dtype('self'))]);
  },

  select: (c) => pick(c, c.axis('dim', c.shape('self').length), c.dimension('index')),
  narrow: (c) => {
    const start = c.dimension('start');
    const end = sumOf(start, c.dimension('length'));
    // A negative start ends at 0 when it reaches the end of the dimension, which is the beginning to ONNX.
    return slice(c, start, typeof start === 'number' && start < 0 && end === 0 ? LAST : end, 1);
  },
  slice: (c) => slice(c, c.optionalDimension('start') ?? 0, c.optionalDimension('end') ?? LAST, c.number('step')),
  index_select: (c) => c.node('Gather', [c.tensor('self'), c.tensor('index')], axisOf(c)),
  gather: (c) => c.node('GatherElements', [c.tensor('self'), c.tensor('index')], axisOf(c)),
  embedding: (c) => c.node('Gather', [c.tensor('weight'), c.tensor('indices')]),
  index: (c) => {
    const indices = c.tensors('indices');
    const given = indices.flatMap((index, axis) => (index === undefined ? [] : [[index, axis] as const]));
    const [only] = given;
    if (only === undefined || given.length > 1) return c.refuse('only one index tensor can be exported');
    const dtype = c.dtypesOf('indices')[only[1]];
    if (dtype === 'bool' || dtype === 'uint8') return c.refuse('the size of what a mask picks depends on values');
    return c.node('Gather', [c.tensor('self'), only[0]], { axis: { int: only[1] } });
  },
  tril: (c) => c.node('Trilu', [c.tensor('self'), c.scalar(c.number('diagonal'), 'int64')], { upper: { int: 0 } }),
  triu: (c) => c.node('Trilu', [c.tensor('self'), c.scalar(c.number('diagonal'), 'int64')], { upper: { int: 1 } }),
  pixel_shuffle: (c) =>
    c.node('DepthToSpace', [c.tensor('self')], {
      blocksize: { int: c.number('upscaleFactor') },
      mode: { text: 'CRD' },
    }),
  upsample_nearest2d: (c) => {
    const [shape, target] = [c.shape('self'), c.dimensions('outputSize')];
    const ratios = [2, 3].map((axis, i) => ratioOf(target[i]!, c.side(shape, axis)));
    // Whole ratios, the common case, are constants of the graph; other sizes are computed.
    const isWhole = ratios.every((ratio) => ratio !== undefined);
    const scales = isWhole ? c.builder.constant('float32', [4], [1, 1, ...(ratios as number[])]) : undefined;
    const sizes = isWhole ? undefined : c.vector([c.side(shape, 0), c.side(shape, 1), target[0]!, target[1]!]);
    return c.node('Resize', [c.tensor('self'), undefined, scales, ...(sizes === undefined ? [] : [sizes])], {
      mode: { text: 'nearest' },
      coordinate_transformation_mode: { text: 'asymmetric' },
      nearest_mode: { text: 'floor' },
    });
  },

  zeros: (c) => filled(c, c.vector(c.dimensions('size')), 0),
  ones: (c) => filled(c, c.vector(c.dimensions('size')), 1),
  full: (c) => filled(c, c.vector(c.dimensions('size')), c.dimension('fillValue')),
  zeros_like: (c) => filled(c, c.node('Shape', [c.tensor('self')]), 0),
  ones_like: (c) => filled(c, c.node('Shape', [c.tensor('self')]), 1),
  full_like: (c) => filled(c, c.node('Shape', [c.tensor('self')]), c.dimension('fillValue')),
  arange: (c) => {
    const dtype = c.resultDtype();
    return c.node('Range', ['start', 'end', 'step'].map((name) => c.scalar(c.dimension(name), dtype))); // biome-ignore format: one call
  },
};

/** Beyond every side: "to the end" in ONNX's Slice. */
const LAST = Number.MAX_SAFE_INTEGER;

/**
 * To the result's shape, as a constant where that is possible: 0 stands for the same side as before, -1 for the one
 * that is left. Constant shapes are what runtimes optimise best, and a product of sizes needs no formula this way.
 */
function reshape(c: Call): string {
  const [from, to] = [c.shape('self'), c.resultShape()];
  const same = (axis: number): boolean => {
    const [before, after] = [from[axis], to[axis]];
    return before !== undefined && after !== undefined && typeof after !== 'number' && textOf(before) === textOf(after);
  };
  const left = to.filter((side, axis) => typeof side !== 'number' && !same(axis)).length;
  if (left <= 1 && !to.includes(0)) {
    const shape = to.map((side, axis) => (typeof side === 'number' ? side : same(axis) ? 0 : -1));
    return c.node('Reshape', [c.tensor('self'), c.vector(shape)]);
  }
  const computed = c.vector(to.map((_, axis) => c.side(to, axis)));
  return c.node('Reshape', [c.tensor('self'), computed], { allowzero: { int: 1 } });
}

function expand(c: Call): string {
  const to = c.resultShape();
  return c.node('Expand', [c.tensor('self'), c.vector(to.map((_, axis) => c.side(to, axis)))]);
}

function transpose(c: Call, order: readonly number[]): string {
  const perm = order.map((axis) => (axis < 0 ? axis + order.length : axis));
  return c.node('Transpose', [c.tensor('self')], { perm: { ints: perm } });
}

/** Sizes of the parts as they came out, which follow the sizes of the whole. */
function split(c: Call): string[] {
  const axis = c.axis('dim', c.shape('self').length);
  const sizes = Array.from({ length: c.numResults }, (_, i) => c.side(c.resultShape(i), axis));
  return c.nodes('Split', [c.tensor('self'), c.vector(sizes)], c.numResults, { axis: { int: axis } });
}

function pick(c: Call, axis: number, index: Dimension): string {
  return c.node('Gather', [c.tensor('self'), c.scalar(index, 'int64')], { axis: { int: axis } });
}

function slice(c: Call, start: Dimension, end: Dimension, step: number): string {
  const axis = c.axis('dim', c.shape('self').length);
  const bounds = [start, end, axis, step].map((value) => c.vector([value]));
  return c.node('Slice', [c.tensor('self'), ...bounds]);
}

function axisOf(c: Call): { axis: { int: number } } {
  return { axis: { int: c.number('dim') } };
}

/** The parts in the dtype that torch promotes them to. */
function sameDtype(c: Call): string[] {
  const dtypes = c.dtypesOf('tensors');
  return c.tensors('tensors').map((part, i) => c.cast(part!, dtypes[i]!, c.resultDtype()));
}

function filled(c: Call, shape: string, value: Dimension): string {
  return c.node('Expand', [c.scalar(value, c.resultDtype()), shape]);
}
