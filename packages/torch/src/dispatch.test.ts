import { expect, test } from 'vitest';
import { type DispatchEvent, listen, matmul, ones, scope, Tensor, tensor } from './index.ts';

test('a listener sees every operation with its arguments and result, until it is removed', () => {
  scope(() => {
    const seen: DispatchEvent[] = [];
    const x = tensor([[1, 2], [3, 4]]); // biome-ignore format: the matrix
    const stop = listen((event) => seen.push(event));
    const y = matmul(x, x).add(1, { alpha: 2 });
    const [values] = y.maxDim(1);
    const same = y.equal(x);
    expect(stop()).toBe(true);
    expect(stop()).toBe(false);
    y.neg();

    expect(seen.map(({ operation }) => operation.overload)).toEqual(['matmul', 'add.Scalar', 'max.dim', 'equal']);
    expect(seen[0]!.args).toEqual([x, x]);
    expect(seen[1]!.args.slice(1)).toEqual([1, 2]);
    expect(seen[1]!.operation.parameters).toEqual(['self', 'other', 'alpha']);
    expect(seen[1]!.operation.kinds).toBe('T--');
    expect(seen[1]!.result).toBe(y);
    expect((seen[2]!.result as Tensor[])[0]).toBe(values);
    expect(seen[3]!.result).toBe(same);
  });
});

test('listeners are independent, hear nothing of failed operations, and hear casts', () => {
  scope(() => {
    const first: string[] = [];
    const second: string[] = [];
    const stopFirst = listen(({ operation }) => first.push(operation.name));
    const stopSecond = listen(({ operation }) => second.push(operation.name));
    const x = ones([2]);
    stopFirst();
    expect(() => x.matmul(ones([3]))).toThrow(/^matmul: /);
    expect(x.to('float64')).toBeInstanceOf(Tensor);
    stopSecond();
    expect(first).toEqual(['ones']);
    expect(second).toEqual(['ones', 'ones', 'to']);
  });
});

test('an error of a listener reaches the caller, and the tensor belongs to the scope', () => {
  const stop = listen(() => {
    throw new Error('no more');
  });
  expect(() => scope(() => ones([2]))).toThrow('no more');
  stop();
});
