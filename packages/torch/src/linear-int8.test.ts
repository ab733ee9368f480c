import { expect, test } from 'vitest';
import {
  countMacs,
  linear,
  linearInt8,
  manualSeed,
  noGrad,
  ones,
  packInt8,
  randn,
  scope,
  type Tensor,
} from './index.ts';

/** Libtorch's builds for x86 have fbgemm; elsewhere there is nothing to test but that it is said. */
const hasInt8 = process.arch === 'x64';
const norm = (x: Tensor): number => x.square().sum().item() ** 0.5;

test('packs where fbgemm is', () => {
  scope(() => expect(packInt8(ones([3, 4])) !== undefined).toBe(hasInt8));
});

test.runIf(hasInt8).each([
  [1, 64, 7],
  [5, 100, 50],
  [300, 768, 301],
])('%i rows of %i channels to %i: near linear', (rows, k, outputs) => {
  noGrad(() =>
    scope(() => {
      manualSeed(rows);
      // Rows of very different size: a scale for all would lose the small ones.
      const x = randn([2, rows, k]).mul(randn([1, rows, 1]).mul(3).exp());
      const [w, bias] = [randn([outputs, k]), randn([outputs])];
      const packed = packInt8(w)!;
      const got = linearInt8(x, packed, bias);
      expect(got.shape).toEqual([2, rows, outputs]);
      const wanted = linear(x, w, bias);
      for (const row of [0, rows - 1]) {
        const [a, b] = [got.select(1, row), wanted.select(1, row)];
        expect(norm(a.sub(b)) / norm(b)).toBeLessThan(0.04);
      }
      expect(norm(linearInt8(x, packed).add(bias).sub(got)) / norm(got)).toBeLessThan(1e-6);
    }),
  );
});

test.runIf(hasInt8)('a row is the same bits in any batch; a row of zeros gives the bias', () => {
  scope(() => {
    const x = randn([9, 40]);
    x.select(0, 4).fill_(0);
    const bias = randn([24]);
    const packed = packInt8(randn([24, 40]))!;
    const whole = linearInt8(x, packed, bias);
    for (let row = 0; row < 9; row++) {
      expect(linearInt8(x.narrow(0, row, 1), packed, bias).toBytes()).toEqual(whole.narrow(0, row, 1).toBytes());
    }
    expect(whole.select(0, 4).toNumbers()).toEqual(bias.toNumbers());
    expect(linearInt8(x.narrow(0, 0, 0), packed).shape).toEqual([0, 24]);
  });
});

test.runIf(hasInt8)('multiply-accumulates are counted', () => {
  scope(() => {
    const packed = packInt8(ones([4, 3]))!;
    expect(countMacs(() => linearInt8(ones([2, 5, 3]), packed)).macs).toBe(2 * 5 * 3 * 4);
  });
});

test.runIf(hasInt8)('what does not fit is refused', () => {
  scope(() => {
    const packed = packInt8(ones([4, 3]))!;
    expect(() => linearInt8(ones([2, 4]), packed)).toThrow(/expected a float32 x \[\.\.\., 3\]/);
    expect(() => linearInt8(ones([2, 3]).to('float64'), packed)).toThrow(/float32/);
    expect(() => linearInt8(ones([2, 3]), packed, ones([3]))).toThrow(/bias of 4/);
    expect(() => linearInt8(ones([2, 3]), ones([4, 3]))).toThrow(/packInt8/);
    expect(() => packInt8(ones([3]))).toThrow(/\[out, in\]/);
    expect(() => packInt8(ones([3, 4]).to('float64'))).toThrow(/float32/);
    packed.dispose();
    expect(() => linearInt8(ones([2, 3]), packed)).toThrow();
  });
});
