import { afterEach, expect, test } from 'vitest';
import {
  attendRows,
  linear,
  linearRows,
  listen,
  manualSeed,
  noGrad,
  quantizeRows,
  randn,
  scaledDotProductAttention,
  scope,
  setNumThreads,
  type Tensor,
  tensor,
} from './index.ts';

afterEach(() => setNumThreads(1));

const worst = (a: Tensor, b: Tensor): number => a.sub(b).abs().amax().item();

test.each([
  [1, 64, 7],
  [3, 100, 50],
  [8, 768, 301],
  [16, 24, 3],
  [17, 32, 9],
])('%i rows of %i channels to %i: as linear', (rows, k, outputs) => {
  noGrad(() =>
    scope(() => {
      manualSeed(rows);
      const [x, w] = [randn([rows, k]), randn([outputs, k])];
      const got = linearRows(x, { weight: w });
      expect(got.shape).toEqual([rows, outputs]);
      expect(worst(got, linear(x, w))).toBeLessThan(1e-4);
    }),
  );
});

test('a row is the same bits in any batch and with any number of threads', () => {
  noGrad(() =>
    scope(() => {
      const [x, w] = [randn([13, 1, 72]), randn([400, 72])];
      const whole = linearRows(x, { weight: w });
      setNumThreads(2);
      for (let row = 0; row < 13; row++) {
        expect(linearRows(x.narrow(0, row, 1), { weight: w }).toBytes()).toEqual(whole.narrow(0, row, 1).toBytes());
      }
    }),
  );
});

test('gradients go through, and listeners are told of linear', () => {
  scope(() => {
    const w = randn([4, 8]).requiresGrad_();
    linearRows(randn([2, 8]), { weight: w })
      .sum()
      .backward();
    expect(w.grad!.shape).toEqual([4, 8]);
    const names: string[] = [];
    const stop = listen(({ operation }) => names.push(operation.name));
    noGrad(() => linearRows(randn([2, 8]), { weight: w }));
    stop();
    expect(names).toContain('linear');
  });
});

test('weights of a byte come within half a step of each weight', () => {
  noGrad(() =>
    scope(() => {
      const [x, w] = [randn([5, 40]), randn([11, 40])];
      const { weight, scales } = quantizeRows(w);
      const wide = weight.to('float32').mul(scales.unsqueeze(1));
      expect(worst(wide.sub(w).div(scales.unsqueeze(1)), w.zerosLike())).toBeLessThan(0.5001);
      expect(worst(linearRows(x, { weight, scales }), linear(x, wide))).toBeLessThan(1e-4);
    }),
  );
});

test.each([
  [64, 1],
  [16, 3],
  [100, 2],
])('heads of %i, %i queries a key head: attention over the filled part', (width, groups) => {
  noGrad(() =>
    scope(() => {
      const cache = () => randn([3, 2, 20, width]).narrow(2, 0, 9);
      const [q, k, v] = [randn([3, 2, groups, width]), cache(), cache()];
      expect(worst(attendRows(q, k, v), scaledDotProductAttention(q, k, v))).toBeLessThan(1e-5);
      const apart = attendRows(q, k, v, tensor([9, 1, 4], 'int64'));
      for (const [row, length] of [9, 1, 4].entries()) {
        const part = (x: Tensor) => x.narrow(0, row, 1).narrow(2, 0, length);
        const alone = scaledDotProductAttention(q.narrow(0, row, 1), part(k), part(v));
        expect(worst(apart.narrow(0, row, 1), alone)).toBeLessThan(1e-5);
      }
    }),
  );
});

test('what does not fit is refused', () => {
  noGrad(() =>
    scope(() => {
      expect(() => linearRows(randn([2, 8]), { weight: randn([4, 9]) })).toThrow(/expected x/);
      const [q, k] = [randn([1, 1, 1, 16]), randn([1, 1, 4, 16])];
      expect(() => attendRows(q, k, k, tensor([5], 'int64'))).toThrow(/lengths from 1 to 4/);
      expect(() => attendRows(q, k, randn([1, 1, 3, 16]))).toThrow(/keys and values/);
      expect(() => linearRows(randn([2, 8]), { weight: randn([4, 8]), scales: randn([4]) })).toThrow(/int8/);
    }),
  );
});
