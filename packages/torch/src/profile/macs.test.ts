import { expect, test } from 'vitest';
import * as T from '../index.ts';

const { ones, countMacs } = T;

test.each<[string, number, () => unknown]>([
  ['linear', 2 * 5 * 3 * 4, () => T.linear(ones([2, 5, 3]), ones([4, 3]))],
  ['matmul', 2 * 5 * 3 * 7, () => ones([2, 5, 3]).matmul(ones([3, 7]))],
  ['matmul of vectors', 6, () => ones([6]).matmul(ones([6]))],
  ['mm', 2 * 3 * 4, () => ones([2, 3]).mm(ones([3, 4]))],
  ['bmm', 5 * 2 * 3 * 4, () => ones([5, 2, 3]).bmm(ones([5, 3, 4]))],
  ['addmm', 2 * 3 * 4, () => ones([4]).addmm(ones([2, 3]), ones([3, 4]))],
  ['baddbmm', 5 * 2 * 3 * 4, () => ones([4]).baddbmm(ones([5, 2, 3]), ones([5, 3, 4]))],
  ['cdist', 5 * 6 * 3, () => T.cdist(ones([5, 3]), ones([6, 3]))],
  ['conv2d, 4 to 6 channels in 2 groups, 3×3, stride 2', 6 * 4 * 4 * (4 / 2) * 9, () => T.conv2d(ones([1, 4, 8, 8]), ones([6, 2, 3, 3]), undefined, [2], [1], [1], 2)],
  ['conv1d', 6 * 8 * 4 * 3, () => T.conv1d(ones([1, 4, 8]), ones([6, 4, 3]), undefined, [1], [1])],
  ['conv_transpose2d', 4 * 5 * 5 * 6 * 4, () => T.convTranspose2d(ones([1, 4, 5, 5]), ones([4, 6, 2, 2]), undefined, [2])],
  ['attention of 7 queries, 5 keys, 3 and 4 wide', 2 * 7 * 5 * (3 + 4), () => T.scaledDotProductAttention(ones([1, 2, 7, 3]), ones([1, 2, 5, 3]), ones([1, 2, 5, 4]))],
  ['einsum', 2 * 3 * 4 * 5, () => T.einsum('bij,bjk->bik', [ones([2, 3, 4]), ones([2, 4, 5])])],
  ['a transpose written as einsum', 0, () => T.einsum('ij->ji', [ones([2, 3])])],
  ['what is no product', 0, () => ones([9]).add(1).softmax(0)],
])('%s', (_, macs, body) => {
  expect(T.scope(() => countMacs(() => void body()).macs)).toBe(macs);
}); // biome-ignore format: a row each

test('counting gives the result, adds up, and ends with the body', () => {
  T.scope(() => {
    const { result, macs } = countMacs(() =>
      ones([2, 3])
        .mm(ones([3, 4]))
        .mm(ones([4, 5])),
    );
    expect(result.shape).toEqual([2, 5]);
    expect(macs).toBe(24 + 40);
    expect(() => countMacs(() => ones([2]).mm(ones([3])))).toThrow(/^mm/);
    expect(countMacs(() => 1)).toEqual({ result: 1, macs: 0 });
  });
});
