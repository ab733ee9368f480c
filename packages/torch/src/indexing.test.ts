/** Indexing and assignment against hand values of NumPy's rules; wrong indices are errors that show the shape. */

import { describe, expect, test } from 'vitest';
import { arange, type Index, memoryStats, noGrad, scope, TensorError, tensor, zeros } from './index.ts';

/** [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] */
const grid = () => arange(0, 12).to('float32').reshape([3, 4]);
/** 0 … 23 as [2, 3, 4] */
const cube = () => arange(0, 24).reshape([2, 3, 4]);

describe('at', () => {
  const i64 = (values: Parameters<typeof tensor>[0]) => tensor(values, 'int64');
  const cases: [what: string, indices: () => Index[], shape: number[], values: number[]][] = [
    ['x[1]', () => [1], [3, 4], Array.from({ length: 12 }, (_, k) => 12 + k)],
    ['x[-1, 0, -2]', () => [-1, 0, -2], [], [14]],
    ['x[0, 1:3, ::2]', () => [0, '1:3', '::2'], [2, 2], [4, 6, 8, 10]],
    ['x[0, -2:, :-3]', () => [0, '-2:', ':-3'], [2, 1], [4, 8]],
    ['x[1, 1, 1:9:2]', () => [1, 1, '1:9:2'], [2], [17, 19]],
    ['x[1, 1, 3:1]', () => [1, 1, '3:1'], [0], []],
    ['x[:, 2, {start 1}]', () => [':', 2, { start: 1, stop: undefined }], [2, 3], [9, 10, 11, 21, 22, 23]],
    ['x[..., 0]', () => ['...', 0], [2, 3], [0, 4, 8, 12, 16, 20]],
    ['x[1, ..., 3]', () => [1, '...', 3], [3], [15, 19, 23]],
    ['x[1, 0, 0, ...]', () => [1, 0, 0, '...'], [], [12]],
    ['x[0, None, 1, None]', () => [0, null, 1, null], [1, 1, 4], [4, 5, 6, 7]],
    ['x[1, 2, [3, 0]]', () => [1, 2, [3, 0]], [2], [23, 20]],
    [
      'x[[1, 0], [2, 1], [-1, 0]]',
      () => [
        [1, 0],
        [2, 1],
        [-1, 0],
      ],
      [2],
      [23, 4],
    ],
    ['x[:, [0, 2], 1]: the integer is a select', () => [':', [0, 2], 1], [2, 2], [1, 9, 13, 21]],
    ['x[[0], :, [1]]: apart, so in front', () => [[0], ':', [1]], [1, 3], [1, 5, 9]],
    ['x[1, [[0], [2]], [0, 1]]: broadcast', () => [1, i64([[0], [2]]), [0, 1]], [2, 2], [12, 13, 20, 21]],
    ['x[..., [True, False, False, True]]', () => [0, 0, [true, false, false, true]], [2], [0, 3]],
    ['x[mask of two dimensions, 1]', () => [tensor([[0, 0, 1], [1, 0, 0]], 'bool'), 1], [2], [9, 13]], // biome-ignore format: the mask
    ['x[0, mask, 1:3]', () => [0, tensor([1, 0, 1], 'bool'), '1:3'], [2, 2], [1, 2, 9, 10]],
    ['x[None, 0, :, [1, 1]]', () => [null, 0, ':', [1, 1]], [1, 3, 2], [1, 1, 5, 5, 9, 9]],
    ['x[[]]', () => [[]], [0, 3, 4], []],
  ];
  test.each(cases)('%s', (_, indices, shape, values) => {
    scope(() => {
      const result = cube().at(...indices());
      expect(result.shape).toEqual(shape);
      expect(result.toNumbers()).toEqual(values);
    });
  });

  test('integers, slices, null and ... give views, index lists give copies', () => {
    scope(() => {
      const x = grid();
      for (const view of [x.at(), x.at('...'), x.at(1), x.at(':', '1:3'), x.at(null, 2, '::2')]) view.fill_(-1);
      expect(x.toNumbers()).toEqual(new Array(12).fill(-1));
      x.at([0, 1]).fill_(5);
      x.at(tensor([1, 1, 1], 'bool')).fill_(5);
      expect(x.toNumbers()).toEqual(new Array(12).fill(-1));
    });
  });

  test('leaves one tensor behind, and passes gradients', () => {
    scope(() => {
      const x = grid().requiresGrad_();
      const before = memoryStats().liveTensors;
      const picked = x.at(null, '1:', [0, 0, 2], '...');
      expect(memoryStats().liveTensors).toBe(before + 1);
      picked.sum().backward();
      expect(x.grad!.toNumbers()).toEqual([0, 0, 0, 0, 2, 0, 1, 0, 2, 0, 1, 0]);
    });
  });
});

describe('setAt_', () => {
  const cases: [what: string, indices: () => Index[], value: () => number | ReturnType<typeof tensor>, number[]][] = [
    ['x[0, 1] = 5', () => [0, 1], () => 5, [0, 5, 0, 0, 0, 0]],
    ['x[1] = [1, 2, 3]', () => [1], () => tensor([1, 2, 3]), [0, 0, 0, 1, 2, 3]],
    ['x[:, 1:] = [[1], [2]]', () => [':', '1:'], () => tensor([[1], [2]]), [0, 1, 1, 0, 2, 2]],
    ['x[0] = [[[7, 8, 9]]]', () => [0], () => tensor([[[7, 8, 9]]]), [7, 8, 9, 0, 0, 0]],
    ['x[...] = 2', () => ['...'], () => 2, [2, 2, 2, 2, 2, 2]],
    ['x[:, [2, 0]] = 4', () => [':', [2, 0]], () => 4, [4, 0, 4, 4, 0, 4]],
    ['x[[0, 1], [1, 2]] = [5, 6]', () => [[0, 1], [1, 2]], () => tensor([5, 6]), [0, 5, 0, 0, 0, 6]], // biome-ignore format: one index a line of Python
    ['x[mask] = 3', () => [tensor([[1, 0, 1], [0, 1, 0]], 'bool')], () => 3, [3, 0, 3, 0, 3, 0]], // biome-ignore format: the mask
    ['x[1, [True, False, True]] = [1, 2]', () => [1, [true, false, true]], () => tensor([1, 2]), [0, 0, 0, 1, 0, 2]],
  ];
  test.each(cases)('%s', (_, indices, value, values) => {
    scope(() => {
      const x = zeros([2, 3]);
      const before = memoryStats().liveTensors;
      expect(x.setAt_([], 0)).toBe(x);
      expect(memoryStats().liveTensors).toBe(before);
      expect(x.setAt_(indices(), value()).toNumbers()).toEqual(values);
    });
  });

  test('of a parameter is for noGrad', () => {
    scope(() => {
      const x = zeros([2]).requiresGrad_();
      expect(() => x.setAt_([0], 1)).toThrow(/leaf/);
      expect(noGrad(() => x.setAt_([0], 1)).toNumbers()).toEqual([1, 0]);
    });
  });
});

describe('errors', () => {
  test.each<[Index[], string]>([
    [[3], 'at: index 3 is outside dimension 0 of size 3 (float32 [3, 4] at [3])'],
    [[0, -5], 'at: index -5 is outside dimension 1 of size 4 (float32 [3, 4] at [0, -5])'],
    [['1:2', 0, 0], "at: expected at most 2 indices, got 3 (float32 [3, 4] at ['1:2', 0, 0])"],
    [['...', '...'], "at: expected '...' once, got it twice (float32 [3, 4] at ['...', '...'])"],
    [[0.5], 'at: expected an integer for dimension 0, got 0.5 (float32 [3, 4] at [0.5])'],
    [['::-1'], "at: expected a positive step, got -1: use flip() to reverse (float32 [3, 4] at ['::-1'])"],
    [[{ start: 1, step: 0 }], 'at: expected a positive step, got 0: use flip() to reverse (float32 [3, 4] at [1::0])'],
    [['1.5:'], "at: expected an index, got '1.5:' (float32 [3, 4] at ['1.5:'])"],
    [['x' as ':'], "at: expected an index, got 'x' (float32 [3, 4] at ['x'])"],
    [[undefined as never], 'at: expected an index, got undefined (float32 [3, 4] at [undefined])'],
    [[[1, 0.5]], 'at: expected a list of integers or of booleans (float32 [3, 4] at [[1, 0.5]])'],
    [[[true, false]], 'at: expected a mask of [3] from dimension 0 on, got [2] (float32 [3, 4] at [[true, false]])'],
  ])('%j', (indices, message) => {
    scope(() => {
      const x = grid();
      expect(() => x.at(...indices)).toThrow(TensorError);
      expect(() => x.at(...indices)).toThrow(message);
      expect(() => x.setAt_(indices, 1)).toThrow(message.replace('at: ', 'setAt_: '));
    });
  });

  test('of index tensors: dtype, range, disposed', () => {
    scope(() => {
      const x = grid();
      expect(() => x.at(tensor([0, 1]))).toThrow(
        'at: expected indices of dtype int64, int32 or bool, got float32 (float32 [3, 4] at [float32 [2]])',
      );
      expect(() => x.at([7])).toThrow(/^index: index 7 is out of bounds.* \(self float32 \[3, 4\]/);
      expect(() => x.at(tensor(1, 'bool'))).toThrow(/at least one dimension/);
      expect(() => x.setAt_([':', 0], zeros([2]))).toThrow(/^copy_: .*\(self float32 \[3\], src float32 \[2\]/);
      const gone = tensor([0], 'int64');
      gone.dispose();
      expect(() => x.at(gone)).toThrow(/disposed/);
      x.dispose();
      expect(() => x.at(0)).toThrow(/disposed/);
    });
  });
});
