/**
 * Every argument of every operation is replaced, one at a time, by what does not belong there: wrong JavaScript types,
 * lying numbers, wrong shapes and dtypes, disposed tensors. What libtorch can work with may succeed; all else is a
 * TensorError that names the operation. A crash would end this process, and with it the test.
 */

import { expect, test } from 'vitest';
import { type DispatchEvent, dispatch } from './dispatch.ts';
import { cat, conv2d, full, listen, OPERATIONS, ones, scope, TensorError, tensor, zeros } from './index.ts';
import { SAMPLES, type Sample } from './operation-samples.test-support.ts';

const gone = () => {
  const x = zeros([2]);
  x.dispose();
  return x;
};

/** Makers, since tensors live in the scope of one trial. */
const HOSTILE: readonly (() => unknown)[] = [
  () => undefined,
  () => 'x',
  () => ({}),
  () => 10n,
  () => Number.NaN,
  () => -1,
  () => 1.5,
  () => 2 ** 53 - 1,
  () => 1e300,
  () => [],
  () => [-1],
  () => [2 ** 53 - 1, 0, 7],
  () => [undefined, 'x'],
  () => [ones([3]), ones([2, 2])],
  () => zeros([0]),
  () => ones([7, 5]),
  () => ones([1, 1, 1, 1, 1]),
  () => tensor([1, 99, -99], 'int64'),
  () => full([2], -(2 ** 53 - 1), { dtype: 'int64' }),
  () => ones([2, 2], { dtype: 'bool' }),
  () => ones([2, 2], { dtype: 'float16' }),
  () => ones([2, 2], { dtype: 'uint16' }),
];

/** What can never stand where a tensor, a list of tensors or a plain value is expected. */
const ALWAYS_WRONG: Record<string, readonly (() => unknown)[]> = {
  T: [gone, () => 'x', () => 0, () => 5, () => ({ handle: 0 }), () => [ones([2])]],
  L: [() => [gone()], () => ones([2]), () => [0, 1], () => 5, () => 'x', () => undefined],
  '-': [() => ones([2]), () => [ones([2])], () => () => 0, () => Symbol('x'), () => [Number.POSITIVE_INFINITY]],
};

/** The operations that a sample calls, with live arguments. */
function events(run: Sample[0]): DispatchEvent[] {
  const seen: DispatchEvent[] = [];
  const stop = listen((event) => seen.push(event));
  run();
  stop();
  return seen;
}

function attempt(event: DispatchEvent, i: number, value: unknown): unknown {
  const args = [...event.args];
  args[i] = value as never;
  try {
    dispatch(event.operation, args);
  } catch (error) {
    return error;
  }
  return undefined;
}

/** A text for the failed expectation, or nothing. */
function complaint(event: DispatchEvent, i: number, error: unknown): string[] {
  const { name, overload, parameters } = event.operation;
  const good =
    error instanceof TensorError &&
    error.operation === name &&
    error.message.startsWith(`${name}: `) &&
    !error.message.includes('\n') &&
    error.message.length < 600 &&
    error.stack!.includes('operations-hostile.test');
  return good ? [] : [`${overload}, ${parameters[i]}: ${String(error)}`];
}

/** Calls `trial` once for every argument of every operation, each time with fresh tensors. */
function forEveryArgument(trial: (event: DispatchEvent, i: number) => string[]): string[] {
  const done = new Set<string>();
  const complaints: string[] = [];
  for (const [run] of SAMPLES) {
    const rows = scope(() => events(run).map(({ operation, args }) => ({ operation, count: args.length })));
    for (const [row, { operation, count }] of rows.entries()) {
      if (done.has(operation.overload)) continue;
      done.add(operation.overload);
      for (let i = 0; i < count; i++) complaints.push(...scope(() => trial(events(run)[row]!, i)));
    }
  }
  expect(done.size).toBe(OPERATIONS.length);
  return complaints;
}

test('no argument crashes an operation, and errors name it', { timeout: 120_000 }, () => {
  const complaints = forEveryArgument((event, i) =>
    HOSTILE.flatMap((make) => {
      const error = attempt(event, i, make());
      return error === undefined ? [] : complaint(event, i, error);
    }),
  );
  expect(complaints).toEqual([]);
});

test('a number is never taken for a tensor, nor a tensor for a number, and disposed tensors are refused', {
  timeout: 120_000,
}, () => {
  const complaints = forEveryArgument((event, i) =>
    ALWAYS_WRONG[event.operation.kinds[i]!]!.flatMap((make) => complaint(event, i, attempt(event, i, make()))),
  );
  expect(complaints).toEqual([]);
});

test('messages hold shapes, dtypes and the names of the arguments', () => {
  const messageOf = (run: () => unknown): string => {
    try {
      scope(run);
    } catch (error) {
      return (error as Error).message;
    }
    return 'no error';
  };
  expect(messageOf(() => ones([2, 3]).matmul(ones([2], { dtype: 'float64' })))).toMatch(
    /^matmul: .* \(self float32 \[2, 3\], other float64 \[2\]\)$/,
  );
  expect(messageOf(() => conv2d(ones([1, 2, 3, 3]), ones([2, 3, 3, 3])))).toMatch(
    /^conv2d: .*weight float32 \[2, 3, 3, 3\], stride \[1\], padding \[0\], dilation \[1\], groups 1\)$/,
  );
  expect(messageOf(() => ones([2]).add('1' as never))).toBe(
    'add: expected a tensor as other, got 1 (self float32 [2], other 1, alpha 1)',
  );
  expect(messageOf(() => cat([...Array.from({ length: 300 }, () => ones([1])), ones([])]))).toMatch(
    /float32 \[1\], … 301 in all\], dim 0\)$/,
  );
  expect(messageOf(() => ones([2]).add(gone()))).toMatch(/^add: the tensor was disposed .*other disposed tensor/);
});
