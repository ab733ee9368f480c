/** Gradients against central differences in float64, and the switches and accumulators of autograd. */

import { describe, expect, test } from 'vitest';
import * as T from './index.ts';

const { scope, Tensor, tensor } = T;
type Tensor = T.Tensor;

/** Distinct, smooth numbers: no two equal (max, sort) and none near a kink at 0. */
function numbers(count: number, phase: number): Float64Array {
  return Float64Array.from({ length: count }, (_, k) => Math.sin(12.9898 * (k + 1) + phase) * 1.3 + 0.07);
}

function leaf(shape: readonly number[], phase: number): Tensor {
  return T.fromTypedArray(
    numbers(
      shape.reduce((p, q) => p * q, 1),
      phase,
    ),
    shape,
  );
}

/** Σ w·f(x) for fixed, uneven w, so that no error can cancel. */
function weighted(result: Tensor): Tensor {
  const weights = T.fromTypedArray(numbers(result.numel, 5), result.shape);
  return result.mul(weights).sum();
}

/** Largest |analytic − numeric| over all entries of all inputs, relative to 1 + |numeric|. */
function gradientError(f: (...inputs: Tensor[]) => Tensor, shapes: readonly (readonly number[])[]): number {
  return scope(() => {
    const inputs = shapes.map((shape, k) => leaf(shape, k).requiresGrad_());
    weighted(f(...inputs)).backward();
    const analytic = inputs.map((input) => input.grad!.toNumbers());
    const valueAt = (which: number, entry: number, step: number): number =>
      scope(() => {
        const moved = shapes.map((shape, k) => {
          const data = numbers(
            shape.reduce((p, q) => p * q, 1),
            k,
          );
          if (k === which) data[entry] = data[entry]! + step;
          return T.fromTypedArray(data, shape);
        });
        return weighted(f(...moved)).item();
      });
    const h = 1e-5;
    const errors = analytic.flatMap((gradient, which) =>
      gradient.map((value, entry) => {
        const numeric = (valueAt(which, entry, h) - valueAt(which, entry, -h)) / (2 * h);
        return Math.abs(value - numeric) / (1 + Math.abs(numeric));
      }),
    );
    expect(errors.length).toBeGreaterThan(0);
    return Math.max(...errors);
  });
}

const i64 = (values: T.NestedNumbers) => tensor(values, 'int64');

describe('gradients equal central differences', () => {
  const cases: [string, (...x: Tensor[]) => Tensor, number[][]][] = [
    ['matmul', (x, y) => x!.matmul(y!), [[2, 3], [3, 2]]], // biome-ignore format: shapes
    ['bmm', (x, y) => x!.bmm(y!), [[2, 2, 3], [2, 3, 2]]], // biome-ignore format: shapes
    ['linear', (x, w, b) => T.linear(x!, w!, b!), [[2, 3], [4, 3], [4]]], // biome-ignore format: shapes
    ['einsum', (x, y) => T.einsum('bij,bkj->bik', [x!, y!]), [[2, 2, 3], [2, 4, 3]]], // biome-ignore format: shapes
    [
      'conv2d, strided and padded',
      (x, w, b) => T.conv2d(x!, w!, b!, [2], [1]),
      [[2, 2, 5, 5], [3, 2, 3, 3], [3]], // biome-ignore format: shapes
    ],
    ['conv2d, grouped', (x, w) => T.conv2d(x!, w!, undefined, [1], [1], [1], 2), [[1, 4, 3, 3], [4, 2, 3, 3]]], // biome-ignore format: shapes
    ['convTranspose2d', (x, w) => T.convTranspose2d(x!, w!, undefined, [2]), [[1, 2, 3, 3], [2, 2, 2, 2]]], // biome-ignore format: shapes
    ['layerNorm', (x, w, b) => T.layerNorm(x!, [4], w!, b!), [[3, 4], [4], [4]]], // biome-ignore format: shapes
    ['groupNorm', (x, w, b) => T.groupNorm(x!, 2, w!, b!), [[2, 4, 3], [4], [4]]], // biome-ignore format: shapes
    ['rmsNorm', (x, w) => T.rmsNorm(x!, [4], w!, 1e-6), [[3, 4], [4]]], // biome-ignore format: shapes
    [
      'batchNorm in training',
      (x, w, b) => T.batchNorm(x!, w!, b!, undefined, undefined, true, 0.1, 1e-5),
      [[5, 2], [2], [2]], // biome-ignore format: shapes
    ],
    [
      'scaledDotProductAttention',
      (q, k, v) => T.scaledDotProductAttention(q!, k!, v!),
      [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]], // biome-ignore format: shapes
    ],
    [
      'scaledDotProductAttention, causal and scaled',
      (q, k, v) => T.scaledDotProductAttention(q!, k!, v!, { isCausal: true, scale: 0.3 }),
      [[1, 1, 3, 2], [1, 1, 3, 2], [1, 1, 3, 2]], // biome-ignore format: shapes
    ],
    ['crossEntropyLoss', (x) => T.crossEntropyLoss(x!, i64([2, 0, 1]), undefined, 1, -100, 0.1), [[3, 4]]],
    ['crossEntropyLoss, ignoring', (x) => T.crossEntropyLoss(x!, i64([2, -100])), [[2, 4]]],
    ['gelu', (x) => T.gelu(x!), [[7]]],
    ['gelu, tanh', (x) => T.gelu(x!, { approximate: 'tanh' }), [[7]]],
    ['silu', (x) => T.silu(x!), [[7]]],
    ['softmax', (x) => x!.softmax(-1), [[2, 4]]],
    ['logSoftmax', (x) => x!.logSoftmax(0), [[2, 4]]],
    ['logsumexp', (x) => x!.logsumexp([1]), [[2, 4]]],
    ['embedding', (w) => T.embedding(w!, i64([[1, 3, 1]])), [[4, 2]]],
    ['gather', (x) => x!.gather(1, i64([[1, 1], [0, 2]])), [[2, 3]]], // biome-ignore format: indices
    ['index', (x) => x!.index([undefined, i64([2, 2, 0])]), [[2, 3]]],
    ['scatterAdd', (x, y) => x!.scatterAdd(0, i64([1, 1, 0]), y!), [[3], [3]]],
    ['indexAdd', (x, y) => x!.indexAdd(0, i64([1, 1]), y!), [[3, 2], [2, 2]]], // biome-ignore format: shapes
    ['where and clamp', (x, y) => T.where(x!.gt(0), x!.clamp(-0.5, 0.5), y!), [[5], [5]]],
    ['maximum, amax and maxDim', (x, y) => T.maximum(x!, y!).amax([0]).add(x!.maxDim(0)[0]), [[3, 4], [3, 4]]], // biome-ignore format: shapes
    ['broadcast arithmetic', (x, y) => x!.mul(y!).add(y!).div(y!.square().add(1)), [[2, 3], [3]]], // biome-ignore format: shapes
    [
      'mean, var and std',
      (x) =>
        x!
          .var([1])
          .add(x!.mean([1]))
          .mul(x!.std([1])),
      [[2, 4]],
    ],
    ['cumsum, cumprod', (x) => x!.cumsum(0).add(x!.cumprod(0)), [[4]]],
    ['sort and topk', (x) => T.cat([x!.sort()[0], x!.topk(2)[0]]), [[5]]],
    [
      'shapes',
      (x) =>
        T.stack(x!.permute([1, 0]).chunk(3), 1)
          .flip([0])
          .roll([1], [1])
          .flatten(1),
      [[2, 3]],
    ],
    ['pixelShuffle and upsampling', (x) => T.upsampleBilinear2d(T.pixelShuffle(x!, 2), [3, 3], false), [[1, 4, 1, 1]]],
    ['pooling', (x) => T.avgPool2d(x!, [2]).add(T.maxPool2d(x!, [2])), [[1, 1, 4, 4]]],
    ['losses', (x, y) => T.mseLoss(x!, y!).add(T.l1Loss(x!, y!)).add(T.smoothL1Loss(x!, y!)), [[4], [4]]],
    [
      'binaryCrossEntropyWithLogits',
      (x) => T.binaryCrossEntropyWithLogits(x!, T.ones([4], { dtype: 'float64' })),
      [[4]],
    ],
    [
      'linalgInv and linalgSolve',
      (x, y) => {
        const A = x!.add(T.eye(3, { dtype: 'float64' }), { alpha: 4 });
        return T.linalgInv(A).matmul(T.linalgSolve(A, y!));
      },
      [[3, 3], [3, 2]], // biome-ignore format: shapes
    ],
    ['casts keep the graph', (x) => x!.to('float64').exp().contiguous(), [[3]]],
  ];

  test.each(cases)('%s', (_, f, shapes) => {
    expect(gradientError(f, shapes)).toBeLessThan(1e-7);
  });
});

describe('autograd', () => {
  test('gradients accumulate until they are cleared or replaced', () => {
    scope(() => {
      const x = tensor([1, 2, 3]).requiresGrad_();
      expect(x.grad).toBeUndefined();
      x.square().sum().backward();
      expect(x.grad!.toNumbers()).toEqual([2, 4, 6]);
      x.sum().backward();
      expect(x.grad!.toNumbers()).toEqual([3, 5, 7]);
      x.grad = undefined;
      expect(x.grad).toBeUndefined();
      x.sum().backward();
      expect(x.grad!.toNumbers()).toEqual([1, 1, 1]);
      x.grad = tensor([5, 5, 5]);
      x.sum().backward();
      expect(x.grad!.toNumbers()).toEqual([6, 6, 6]);
      for (const wrong of [tensor([1, 2]), tensor([1, 2, 3], 'float64'), tensor([1, 2, 3], 'int64'), 5 as never]) {
        expect(() => {
          x.grad = wrong;
        }).toThrow(/^grad: expected a gradient like float32 \[3\], got /);
      }
      expect(x.grad!.toNumbers()).toEqual([6, 6, 6]);
    });
  });

  test('the graph lives on when the handles of intermediate tensors are gone', () => {
    scope(() => {
      const x = tensor([1, 2]).requiresGrad_();
      const loss = scope(() => x.exp().log().square().sum());
      loss.backward();
      expect(x.grad!.toNumbers().map((value) => Math.round(value * 1e4) / 1e4)).toEqual([2, 4]);
    });
  });

  test('a gradient may start the backward pass', () => {
    scope(() => {
      const x = tensor([1, 2]).requiresGrad_();
      x.mul(3).backward(tensor([1, 10]));
      expect(x.grad!.toNumbers()).toEqual([3, 30]);
    });
  });

  test('a backward pass may be for some leaves alone', () => {
    scope(() => {
      const [x, y, unused] = [tensor([1, 2]), tensor([3, 4]), tensor([5, 6])].map((leaf) => leaf.requiresGrad_());
      x!
        .mul(y!)
        .sum()
        .backward(undefined, { leaves: [x!, unused!] });
      expect(x!.grad!.toNumbers()).toEqual([3, 4]);
      expect(y!.grad).toBeUndefined();
      expect(unused!.grad).toBeUndefined();
      expect(() => x!.sum().backward(undefined, { leaves: [tensor([1, 2])] })).toThrow(/^backward: can't retain_grad/);
    });
  });

  test('gradients() gives them as values, and the graph and what was collected stay', () => {
    scope(() => {
      const [x, y] = [tensor([1, 2]).requiresGrad_(), tensor([3, 4]).requiresGrad_()];
      const product = x.mul(y);
      const loss = product.square().sum();
      expect(T.gradients([loss], [x, product], { retainGraph: true }).map((gradient) => gradient!.toNumbers())).toEqual(
        [
          [18, 64],
          [6, 16],
        ],
      );
      expect(x.grad).toBeUndefined();
      loss.backward();
      expect(y.grad!.toNumbers()).toEqual([6, 32]);
      expect(T.gradients([x.sum()], [y])).toEqual([undefined]);
    });
  });

  test('noGrad and enableGrad switch recording for a block, also when it throws', () => {
    scope(() => {
      const x = tensor([1, 2]).requiresGrad_();
      expect(T.isGradEnabled()).toBe(true);
      const outside = T.noGrad(() => {
        expect(T.isGradEnabled()).toBe(false);
        expect(T.enableGrad(() => x.mul(2)).requiresGrad).toBe(true);
        expect(T.isGradEnabled()).toBe(false);
        return x.mul(2);
      });
      expect(outside.requiresGrad).toBe(false);
      expect(() =>
        T.noGrad(() => {
          throw new Error('mine');
        }),
      ).toThrow('mine');
      expect(T.isGradEnabled()).toBe(true);
      expect(x.mul(2).requiresGrad).toBe(true);
      expect(x.detach().requiresGrad).toBe(false);
      // Updating a parameter in place is for noGrad.
      expect(() => x.add_(1)).toThrow(/^add_: .*leaf.*\(self float32 \[2\]/);
      T.noGrad(() => x.add_(1));
      expect(x.toNumbers()).toEqual([2, 3]);
    });
  });

  test('retainGraph allows a second pass, createGraph makes gradients differentiable', () => {
    scope(() => {
      const x = tensor([2, 3]).requiresGrad_();
      const loss = x.pow(3).sum();
      loss.backward(undefined, { retainGraph: true });
      loss.backward();
      expect(x.grad!.toNumbers()).toEqual([24, 54]); // twice 3x²
      x.grad = undefined;
      const [slope] = T.gradients([x.pow(3).sum()], [x], { createGraph: true }) as [Tensor];
      expect(slope.toNumbers()).toEqual([12, 27]);
      expect(x.grad).toBeUndefined();
      slope.sum().backward();
      expect(x.grad!.toNumbers()).toEqual([12, 18]); // 6x
    });
  });

  test('gradients with respect to inner tensors, with weights, and of what does not matter', () => {
    scope(() => {
      const x = tensor([1, 2]).requiresGrad_();
      const unused = tensor([1]).requiresGrad_();
      const inner = x.mul(3);
      const outer = inner.square();
      const weights = tensor([1, 10]);
      const [a, b, c] = T.gradients([outer], [inner, unused, x], { gradOutputs: [weights] });
      expect(a!.toNumbers()).toEqual([6, 120]);
      expect(b).toBeUndefined();
      expect(c!.toNumbers()).toEqual([18, 360]);
      expect(() => T.gradients([x.mul(2)], [x])).toThrow(/^gradients: .*scalar.*\(float32 \[2\], float32 \[2\]\)$/);
      expect(() => T.gradients([x.sum()], [tensor([1])])).toThrow(/^gradients: .*require.* grad/);
      expect(() => T.gradients([x.mul(2)], [x], { gradOutputs: [tensor([1, 2, 3])] })).toThrow(/^gradients: /);
      expect(T.gradients([x.sum()], [])).toEqual([]);
      const gone = x.sum();
      gone.dispose();
      expect(() => T.gradients([gone], [x])).toThrow(/^gradients: the tensor was disposed/);
    });
  });

  test('misuse is an error with the shape', () => {
    scope(() => {
      const x = tensor([1, 2]).requiresGrad_();
      expect(() => tensor([1]).backward()).toThrow(/^backward: .*does not require grad.*\(float32 \[1\]\)$/);
      expect(() => x.mul(2).backward()).toThrow(/^backward: .*scalar.*\(float32 \[2\]\)$/);
      expect(() => x.mul(2).backward(tensor([1, 2, 3]))).toThrow(/^backward: /);
      expect(() => tensor([1], 'int64').requiresGrad_()).toThrow(/^requiresGrad_: .*floating point.*\(int64 \[1\]\)$/);
      const loss = x.square().sum();
      loss.backward();
      expect(() => loss.backward()).toThrow(/^backward: Trying to backward through the graph a second time/);
      expect(x.grad).toBeInstanceOf(Tensor);
    });
  });
});
