// Lowerings of arithmetic, comparisons and reductions. ONNX wants both operands in one dtype; torch promotes, so
// operands are cast to the dtype of the result, or for comparisons to the wider of the two.

import type { DType } from '../../dtype.ts';
import type { Dimension } from '../affine.ts';
import type { Call, Lowering } from '../call.ts';

export const ARITHMETIC: Readonly<Record<string, Lowering>> = {
  'to.dtype': (c) => c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype()),
  type_as: (c) => c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype()),

  add: (c) => c.node('Add', [left(c), scaled(c, right(c))]),
  sub: (c) => c.node('Sub', [left(c), scaled(c, right(c))]),
  rsub: (c) => c.node('Sub', [right(c), scaled(c, left(c))]),
  mul: (c) => c.node(c.resultDtype() === 'bool' ? 'And' : 'Mul', [left(c), right(c)]),
  div: (c) => c.node('Div', [left(c), right(c)]),
  pow: (c) => c.node('Pow', [left(c), right(c, 'exponent')]),
  maximum: (c) => c.node('Max', [left(c), right(c)]),
  minimum: (c) => c.node('Min', [left(c), right(c)]),
  lerp: (c) => {
    const weight = c.isTensor('weight') ? c.tensor('weight') : c.scalar(c.dimension('weight'), c.resultDtype());
    return c.node('Add', [
      c.tensor('self'),
      c.node('Mul', [weight, c.node('Sub', [c.tensor('end'), c.tensor('self')])]),
    ]);
  },

  addcmul: (c) =>
    c.node('Add', [c.tensor('self'), times(c, c.node('Mul', [c.tensor('tensor1'), c.tensor('tensor2')]))]),
  addcdiv: (c) =>
    c.node('Add', [c.tensor('self'), times(c, c.node('Div', [c.tensor('tensor1'), c.tensor('tensor2')]))]),

  neg: unary('Neg'),
  abs: unary('Abs'),
  sign: unary('Sign'),
  exp: unary('Exp'),
  log: unary('Log'),
  sqrt: unary('Sqrt'),
  reciprocal: unary('Reciprocal'),
  sin: unary('Sin'),
  cos: unary('Cos'),
  tanh: unary('Tanh'),
  erf: unary('Erf'),
  floor: unary('Floor'),
  ceil: unary('Ceil'),
  round: unary('Round'),
  rsqrt: (c) => c.node('Reciprocal', [c.node('Sqrt', [floating(c)])]),
  square: (c) => c.node('Mul', [c.tensor('self'), c.tensor('self')]),
  clamp: (c) => {
    const bound = (name: string): string | undefined =>
      c.isAbsent(name) ? undefined : c.scalar(c.dimension(name), c.resultDtype());
    return c.node('Clip', [c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype()), bound('min'), bound('max')]);
  },

  eq: comparison('Equal'),
  ne: (c) => c.node('Not', [comparison('Equal')(c) as string]),
  lt: comparison('Less'),
  le: comparison('LessOrEqual'),
  gt: comparison('Greater'),
  ge: comparison('GreaterOrEqual'),
  logical_and: (c) => c.node('And', [truth(c, 'self'), truth(c, 'other')]),
  logical_or: (c) => c.node('Or', [truth(c, 'self'), truth(c, 'other')]),
  logical_not: (c) => c.node('Not', [truth(c, 'self')]),
  where: (c) => {
    const [yes, no] = ['self', 'other'].map((name) => c.cast(c.tensor(name), c.dtype(name), c.resultDtype()));
    return c.node('Where', [c.tensor('condition'), yes, no]);
  },
  masked_fill: (c) => {
    const value = c.isTensor('value')
      ? c.cast(c.tensor('value'), c.dtype('value'), c.resultDtype())
      : c.scalar(c.dimension('value'), c.resultDtype());
    return c.node('Where', [c.tensor('mask'), value, c.tensor('self')]);
  },

  sum: (c) => reduce(c, 'ReduceSum'),
  mean: (c) => reduce(c, 'ReduceMean'),
  amax: (c) => reduce(c, 'ReduceMax'),
  amin: (c) => reduce(c, 'ReduceMin'),
  logsumexp: (c) => reduce(c, 'ReduceLogSumExp'),
  linalg_vector_norm: (c) => {
    const op = { 1: 'ReduceL1', 2: 'ReduceL2' }[c.number('ord')];
    return op === undefined
      ? c.refuse(`only norms of order 1 and 2 can be exported, got ${c.number('ord')}`)
      : reduce(c, op);
  },
  argmax: (c) => extreme(c, 'ArgMax'),
  argmin: (c) => extreme(c, 'ArgMin'),
  'max.dim': (c) => [extremeValue(c, 'ReduceMax'), extreme(c, 'ArgMax')],
  'min.dim': (c) => [extremeValue(c, 'ReduceMin'), extreme(c, 'ArgMin')],
  cumsum: (c) =>
    c.node('CumSum', [c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype()), c.scalar(c.number('dim'), 'int64')]),
  topk: (c) => {
    const flags = { largest: { int: Number(c.flag('largest')) }, sorted: { int: Number(c.flag('sorted')) } };
    return c.nodes('TopK', [c.tensor('self'), c.vector([c.dimension('k')])], 2, {
      axis: { int: c.number('dim') },
      ...flags,
    });
  },
};

function unary(op: string): Lowering {
  return (c) => c.node(op, [floating(c)]);
}

/** `self` in the dtype of the result: functions like exp make floats of integers. */
function floating(c: Call): string {
  return c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype());
}

function left(c: Call): string {
  return c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype());
}

function right(c: Call, parameter = 'other'): string {
  const dtype = c.resultDtype();
  return c.isTensor(parameter)
    ? c.cast(c.tensor(parameter), c.dtype(parameter), dtype)
    : c.scalar(c.dimension(parameter), dtype);
}

/** add, sub and rsub multiply one side by alpha. */
function scaled(c: Call, name: string): string {
  return times(c, name, 'alpha');
}

/** Multiplied by a number that is 1 when left out. */
function times(c: Call, name: string, parameter = 'value'): string {
  const factor = c.optionalDimension(parameter) ?? 1;
  return factor === 1 ? name : c.node('Mul', [name, c.scalar(factor, c.resultDtype())]);
}

function comparison(op: string): Lowering {
  return (c) => {
    const own = c.dtype('self');
    const dtype = c.isTensor('other') ? wider(own, c.dtype('other')) : widerThan(own, c.dimension('other'));
    const other = c.isTensor('other')
      ? c.cast(c.tensor('other'), c.dtype('other'), dtype)
      : c.scalar(c.dimension('other'), dtype);
    return c.node(op, [c.cast(c.tensor('self'), own, dtype), other]);
  };
}

const WIDTHS: readonly DType[] = ['bool', 'uint8', 'int8', 'int32', 'int64', 'float16', 'float32', 'float64'];

function wider(a: DType, b: DType): DType {
  return WIDTHS.indexOf(a) >= WIDTHS.indexOf(b) ? a : b;
}

function widerThan(dtype: DType, value: Dimension): DType {
  return typeof value === 'number' && !Number.isInteger(value) ? wider(dtype, 'float32') : dtype;
}

function truth(c: Call, parameter: string): string {
  return c.cast(c.tensor(parameter), c.dtype(parameter), 'bool');
}

function reduce(c: Call, op: string): string {
  const all = c.isAbsent('dim') || c.dimensions('dim').length === 0;
  const x = c.cast(c.tensor('self'), c.dtype('self'), c.resultDtype());
  const axes = all ? [] : [c.vector(c.numbers('dim'))];
  return c.node(op, [x, ...axes], { keepdims: { int: Number(c.flag('keepdim')) } });
}

function extreme(c: Call, op: string): string {
  const keepdims = { keepdims: { int: Number(c.flag('keepdim')) } };
  if (!c.isAbsent('dim')) return c.node(op, [c.tensor('self')], { axis: { int: c.number('dim') }, ...keepdims });
  const flat = c.node('Reshape', [c.tensor('self'), c.vector([-1])]);
  return c.node(op, [flat], { axis: { int: 0 }, keepdims: { int: 0 } });
}

function extremeValue(c: Call, op: string): string {
  return c.node(op, [c.tensor('self'), c.vector([c.number('dim')])], { keepdims: { int: Number(c.flag('keepdim')) } });
}
