/** Walks the whole operation table: every row is called with good arguments and gives the right values. */

import { expect, test } from 'vitest';
import {
  add,
  type DType,
  exponential_,
  listen,
  manualSeed,
  matmul,
  OPERATIONS,
  ones,
  type Result,
  rand,
  randint,
  randn,
  randperm,
  scope,
  Tensor,
  tensor,
  zeros,
} from './index.ts';
import { SAMPLES } from './operation-samples.test-support.ts';

function numbers(result: Result): (number | boolean)[] {
  if (result instanceof Tensor) return result.toNumbers();
  if (Array.isArray(result)) return result.flatMap(numbers);
  return result === undefined ? [] : [result];
}

/** What a call gives, or its error as a text, so that one failure does not hide the others. */
function attempt(run: () => Result): (number | boolean | string)[] {
  try {
    return numbers(run());
  } catch (error) {
    return [String(error)];
  }
}

test('every row of the table is called, and gives its values', () => {
  const called = new Set<string>();
  const stop = listen(({ operation }) => called.add(operation.overload));
  const wrong = scope(() =>
    SAMPLES.flatMap(([run, expected], row) => {
      const got = attempt(run);
      const same =
        expected === undefined ||
        (got.length === expected.length &&
          got.every((value, k) => Math.abs(Number(value) - Number(expected[k])) <= 1e-5 * (1 + Math.abs(+value))));
      return same ? [] : [{ row, call: String(run), got, expected }];
    }),
  );
  stop();
  expect(wrong).toEqual([]);
  expect(OPERATIONS.map((operation) => operation.overload).filter((name) => !called.has(name))).toEqual([]);
});

test('each operation is also a method where the table says so', () => {
  scope(() => {
    const x = tensor([[1, 2], [3, 4]]); // biome-ignore format: the matrix
    expect(x.sum([0]).toNumbers()).toEqual([4, 6]);
    expect(x.var(undefined, { correction: 0 }).item()).toBeCloseTo(1.25, 6);
    expect(x.matmul(x).sub(1).mul(x).toNumbers()).toEqual([6, 18, 42, 84]);
    expect(x.sort({ descending: true })[1].toNumbers()).toEqual([1, 0, 1, 0]);
    expect(x.equal(x.clone())).toBe(true);
  });
});

test('random tensors lie where they should and repeat with their seed', () => {
  scope(() => {
    const draw = () => {
      manualSeed(7);
      return [rand([1000]), randn([1000]), randint(-2, 3, [1000]), randperm(100), exponential_(zeros([1000]), 2)];
    };
    const first = draw().map((t) => t.toNumbers());
    expect(draw().map((t) => t.toNumbers())).toEqual(first);
    const [uniform, normal, integers, order, waits] = first as [number[], number[], number[], number[], number[]];
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...uniform)).toBeLessThan(1);
    expect(Math.abs(mean(normal))).toBeLessThan(0.13); // four standard errors
    expect(Math.abs(mean(normal.map((v) => v * v)) - 1)).toBeLessThan(0.18);
    expect(new Set(integers)).toEqual(new Set([-2, -1, 0, 1, 2]));
    expect([...order].sort((p, q) => p - q)).toEqual(Array.from({ length: 100 }, (_, k) => k));
    expect(Math.abs(mean(waits) - 0.5)).toBeLessThan(0.064);
  });
});

test('dtypes: a whole number keeps an integer tensor, a fraction widens it, mixing follows PyTorch', () => {
  scope(() => {
    const dtypeOf = (t: Tensor): DType => t.dtype;
    const integers = tensor([1, 2], 'int64');
    expect(dtypeOf(integers.add(1))).toBe('int64');
    expect(dtypeOf(integers.add(1.5))).toBe('float32');
    expect(dtypeOf(integers.div(2))).toBe('float32');
    expect(dtypeOf(add(integers, tensor([1, 2], 'float64')))).toBe('float64');
    expect(dtypeOf(integers.sum())).toBe('int64');
    expect(dtypeOf(ones([2]).sum(undefined, false, { dtype: 'float64' }))).toBe('float64');
    expect(dtypeOf(ones([2], { dtype: 'bfloat16' }).mul(ones([2], { dtype: 'float16' })))).toBe('float32');
    expect(dtypeOf(integers.gt(1))).toBe('bool');
  });
});

test('views share memory, and in-place operations return the same memory under a new handle', () => {
  scope(() => {
    const x = zeros([2, 2]);
    const row = x.select(0, 1);
    const same = row.add_(5);
    expect(x.toNumbers()).toEqual([0, 0, 5, 5]);
    same.fill_(7);
    expect(x.toNumbers()).toEqual([0, 0, 7, 7]);
    expect(matmul(x, x.t()).toNumbers()).toEqual([0, 0, 0, 98]);
  });
});

test('memory formats: the same values, laid out in another order', () => {
  scope(() => {
    const x = ones([1, 2, 3, 4]).cumsum(3);
    const last = x.contiguous({ memoryFormat: 'channels_last' });
    expect(x.strides).toEqual([24, 12, 4, 1]);
    expect(last.strides).toEqual([24, 1, 8, 2]);
    expect([x.isContiguous(), last.isContiguous(), last.isContiguous('channels_last')]).toEqual([true, false, true]);
    expect(last.toNumbers()).toEqual(x.toNumbers());
    expect(x.channelsLast().strides).toEqual(last.strides);
    expect(last.clone().strides).toEqual(last.strides);
    expect(last.clone({ memoryFormat: 'contiguous_format' }).strides).toEqual(x.strides);
    expect(() => x.contiguous({ memoryFormat: 'rows' as never })).toThrow(/^contiguous: unknown memory format "rows"/);
    expect(() => ones([2, 2]).channelsLast()).toThrow(/^contiguous: .*\(self float32 \[2, 2\]/);
  });
});
