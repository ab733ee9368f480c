import { afterEach, expect, test } from 'vitest';
import {
  attendRows,
  attendTokens,
  autocast,
  cat,
  gatedRows,
  gateRows,
  gelu,
  geluInPlace,
  gradients,
  layerNorm,
  linear,
  linearRows,
  linearTiles,
  listen,
  manualSeed,
  modulateRows,
  noGrad,
  normRows,
  quantizeRows,
  randn,
  scaledDotProductAttention,
  scope,
  setNumThreads,
  silu,
  type Tensor,
  tensor,
  turnRows,
  zeros,
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

test.each([
  [17, 512, 528],
  [40, 300, 919], // a last tile of one output, channels of more than one part
  [256, 1024, 257],
  [100, 7, 40000], // fewer channels than a vector
])('%i rows of %i channels to %i by tiles: as linear, whatever the batch', (rows, k, outputs) => {
  noGrad(() =>
    scope(() => {
      const [x, w, bias] = [randn([2, rows / 2, k].map(Math.ceil)), randn([outputs, k]), randn([outputs])];
      const exact = linear(x.to('float64'), w.to('float64'), bias.to('float64'));
      const made = linearTiles(x, w, bias);
      expect(made.shape).toEqual(exact.shape);
      expect(worst(made.to('float64'), exact)).toBeLessThan(1e-5 * k ** 0.5);
      expect(worst(linearTiles(x, w).add(bias), made)).toBeLessThan(1e-4);
      const rowsOf = (of: Tensor): Tensor =>
        of
          .view([-1, of.size(-1)])
          .narrow(0, 1, 17)
          .contiguous();
      expect(Buffer.compare(linearTiles(rowsOf(x), w, bias).toBytes(), rowsOf(made).toBytes())).toBe(0);
      setNumThreads(2);
      expect(Buffer.compare(linearTiles(x, w, bias).toBytes(), made.toBytes())).toBe(0);
    }),
  );
});

test('linear by tiles: gradients take the long way, wrong shapes are refused', () => {
  scope(() => {
    const [x, w] = [randn([30, 512]).requiresGrad_(), randn([512, 512])];
    const [gradient] = gradients([linearTiles(x, w).sum()], [x]);
    expect(worst(gradient!, w.sum([0]).expand([30, 512]))).toBeLessThan(1e-3);
    expect(() => linearTiles(x, randn([512, 511]))).toThrow(/expected x/);
    expect(() => linearTiles(x, w, randn([511]))).toThrow(/expected x/);
  });
});

test.each([
  [257, 257, 64, 12],
  [1, 9, 36, 4], // fewer queries than a tile, a panel of eight columns
  [26, 64, 16, 2],
  [7, 1, 5, 3], // one key: the value itself
])('%i queries to %i keys, heads of %i: attention of tokens', (numQueries, numKeys, width, numHeads) => {
  noGrad(() =>
    scope(() => {
      const dim = width * numHeads;
      const q = randn([2, numQueries, dim]).mul(3);
      const [k, v] = randn([2, numKeys + 3, 2 * dim])
        .narrow(1, 2, numKeys)
        .chunk(2, -1) as [Tensor, Tensor];
      const heads = (x: Tensor) => x.to('float64').unflatten(-1, [numHeads, width]).transpose(1, 2);
      const exact = scaledDotProductAttention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2);
      const made = attendTokens(q, k, v, numHeads);
      expect(made.shape).toEqual(q.shape);
      expect(worst(made.to('float64'), exact)).toBeLessThan(2e-5);
      // The same bits alone, and where the general kernel is listened to within its rounding.
      const last = (x: Tensor) => x.narrow(0, 1, 1);
      const alone = attendTokens(last(q).narrow(1, numQueries - 1, 1), last(k), last(v), numHeads);
      expect(
        Buffer.compare(
          alone.toBytes(),
          last(made)
            .narrow(1, numQueries - 1, 1)
            .toBytes(),
        ),
      ).toBe(0);
      const stop = listen(() => {});
      expect(worst(attendTokens(q, k, v, numHeads), made)).toBeLessThan(2e-5);
      stop();
    }),
  );
});

test('attention of tokens: NaN stays in its row, gradients take the long way, wrong shapes are refused', () => {
  scope(() => {
    const [q, k] = [zeros([1, 3, 8]), randn([1, 5, 8])];
    q.narrow(1, 1, 1).fill_(Number.NaN);
    const rows = attendTokens(q, k, k, 2).isnan().to('int64').sum([2]).toNumbers();
    expect(rows).toEqual([0, 8, 0]);
    const x = randn([1, 3, 8]).requiresGrad_();
    expect(gradients([attendTokens(x, k, k, 2).sum()], [x])[0]!.shape).toEqual([1, 3, 8]);
    expect(() => attendTokens(k, k, k, 3)).toThrow(/expected queries/);
    expect(() => attendTokens(k, k, randn([1, 4, 8]), 2)).toThrow(/expected queries/);
  });
});

test('a summand is added to the same bits, and a gate is silu times the other product', () => {
  noGrad(() =>
    scope(() => {
      const [x, y, w, u] = [randn([5, 1, 48]), randn([5, 1, 301]), randn([301, 48]), randn([301, 48])];
      const product = linearRows(x, { weight: w });
      expect(linearRows(x, { weight: w }, y).toBytes()).toEqual(y.add(product).toBytes());
      const gated = gatedRows(x, { weight: w }, { weight: u });
      expect(worst(gated, silu(linear(x, w)).mul(linear(x, u)))).toBeLessThan(1e-4);
      const bytes = quantizeRows(w);
      const wide = bytes.weight.to('float32').mul(bytes.scales.unsqueeze(1));
      expect(worst(gatedRows(x, bytes, { weight: u }), silu(linear(x, wide)).mul(linear(x, u)))).toBeLessThan(1e-4);
      setNumThreads(2);
      expect(gatedRows(x, { weight: w }, { weight: u }).toBytes()).toEqual(gated.toBytes());
    }),
  );
});

test.each([[1], [7], [100], [768]])('the norm of %i channels, in float32 and in halves', (width) => {
  noGrad(() =>
    scope(() => {
      const [x, weight] = [randn([3, 1, width]).mul(5), randn([width])];
      const expected = (wide: Tensor) =>
        wide
          .div(wide.square().mean([-1], true).add(1e-5).sqrt())
          .to(x.dtype)
          .mul(weight);
      expect(worst(normRows(x, weight, 1e-5), expected(x))).toBeLessThan(1e-4);
      const half = x.to('bfloat16');
      expect(normRows(half, weight.to('bfloat16'), 1e-5).dtype).toBe('bfloat16');
      expect(worst(normRows(half, weight.to('bfloat16'), 1e-5).to('float32'), expected(x))).toBeLessThan(0.3);
    }),
  );
});

test('pairs of channels turn by their angle, by position or by sequence', () => {
  noGrad(() =>
    scope(() => {
      const angles = randn([6, 8]);
      const spread = (x: Tensor) => x.repeatInterleave(2, -1); // a pair's two channels
      const signs = tensor(Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? -1 : 1)));
      const [cos, sin] = [spread(angles.cos()), spread(angles.sin()).mul(signs)];
      const turned = (x: number[], angle: number) => [
        x[0]! * Math.cos(angle) - x[1]! * Math.sin(angle),
        x[1]! * Math.cos(angle) + x[0]! * Math.sin(angle),
      ];
      const x = randn([6, 6, 3, 16]).narrow(2, 0, 2);
      const [values, angleOf] = [x.contiguous().toNumbers(), angles.toNumbers()];
      for (const by of ['position', 'sequence'] as const) {
        const of = (part: Tensor) => (by === 'position' ? part : part.unsqueeze(1).unsqueeze(1));
        const got = turnRows(x, of(cos), of(sin)).toNumbers();
        for (let at = 0; at < got.length; at += 2) {
          const [b, s] = [Math.floor(at / (6 * 2 * 16)), Math.floor(at / (2 * 16)) % 6];
          const angle = angleOf[(by === 'position' ? s : b) * 8 + ((at % 16) >> 1)]!;
          const [first, second] = turned(values.slice(at, at + 2), angle);
          expect(Math.abs(got[at]! - first!) + Math.abs(got[at + 1]! - second!)).toBeLessThan(1e-5);
        }
      }
    }),
  );
});

test('GELU over its operand: both forms, every size, as libtorch', () => {
  noGrad(() =>
    scope(() => {
      for (const count of [1, 8, 1003]) {
        const x = cat([randn([count]).mul(4), tensor([0, -0, 30, -30, 1e30, -1e30])]);
        for (const approximate of ['none', 'tanh'] as const) {
          const expected = gelu(x.to('float64'), { approximate });
          const own = x.clone();
          expect(geluInPlace(own, approximate)).toBe(own);
          const error = own.to('float64').sub(expected).abs().div(expected.abs().clamp(1e-2));
          expect(error.amax().item()).toBeLessThan(1e-6);
        }
      }
      expect(geluInPlace(tensor([Number.NaN])).item()).toBeNaN();
      expect(geluInPlace(tensor([1, 2]).to('bfloat16')).dtype).toBe('bfloat16');
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
      expect(() => linearRows(randn([2, 8]), { weight: randn([4, 8]) }, randn([2, 5]))).toThrow(/summand/);
      expect(() => gatedRows(randn([2, 8]), { weight: randn([4, 8]) }, { weight: randn([5, 8]) })).toThrow(/one shape/);
      expect(() => normRows(randn([2, 8]), randn([7]), 1e-5)).toThrow(/expected x/);
    }),
  );
});

test.each([
  [3, 7, 144],
  [2, 1, 1024],
  [1, 5, 11],
])('modulated norm and gate of [%i, %i, %i]: as the operations that they stand for', (batch, count, width) => {
  noGrad(() =>
    scope(() => {
      manualSeed(width);
      const x = randn([batch, count, width]).mul(3).add(1);
      // As they come: parts of one row a sample.
      const [shift, scale, gate] = randn([batch, 1, 3 * width]).chunk(3, -1) as [Tensor, Tensor, Tensor];
      const expected = shift.addcmul(layerNorm(x, [width], undefined, undefined, 1e-6), scale.add(1));
      const got = modulateRows(x, shift, scale, 1e-6);
      expect(worst(got, expected)).toBeLessThan(1e-5);
      setNumThreads(2);
      expect(modulateRows(x, shift, scale, 1e-6).toBytes()).toEqual(got.toBytes());
      for (let i = 0; i < batch; i++) {
        const [own, ownShift, ownScale] = [x, shift, scale].map((part) => part.narrow(0, i, 1)) as [Tensor, Tensor, Tensor]; // biome-ignore format: one row
        expect(modulateRows(own, ownShift, ownScale, 1e-6).toBytes()).toEqual(got.narrow(0, i, 1).toBytes());
      }
      const y = x.randnLike();
      const gated = x.addcmul(gate, y);
      expect(gateRows(x, gate, y).handle).toBe(y.handle);
      expect(worst(y, gated)).toBeLessThan(2e-6);
    }),
  );
});

test('where a gradient is wanted the gate writes over nothing, and both have it', () => {
  scope(() => {
    const [x, y] = [randn([2, 3, 8]).requiresGrad_(), randn([2, 3, 8])];
    const [shift, scale, gate] = randn([2, 1, 24]).chunk(3, -1) as [Tensor, Tensor, Tensor];
    const before = y.toBytes();
    const result = gateRows(modulateRows(x, shift, scale, 1e-6), gate, y);
    expect(y.toBytes()).toEqual(before);
    result.square().sum().backward();
    expect(x.grad!.abs().sum().item()).toBeGreaterThan(0);
  });
});

test('under autocast a result has the type that it has with gradients, whatever the number of rows', () => {
  noGrad(() =>
    scope(() => {
      const [w, k] = [randn([512, 512]), randn([2, 9, 512])];
      const typesOf = (): string[] => [
        ...[1, 8, 32, 300].flatMap((rows) => {
          const x = randn([rows, 512]);
          return [linearTiles(x, w).dtype, linearRows(x, { weight: w }).dtype];
        }),
        attendTokens(k, k, k, 8).dtype,
        attendRows(randn([3, 2, 1, 64]), randn([3, 2, 20, 64]), randn([3, 2, 20, 64])).dtype,
      ];
      expect(new Set(typesOf())).toEqual(new Set(['float32']));
      expect(new Set(autocast({ device: 'cpu' }, typesOf))).toEqual(new Set(['bfloat16']));
    }),
  );
});

test('what autograd has kept is not written over unnoticed', () => {
  scope(() => {
    const w = randn([3, 8]).requiresGrad_();
    const kept = randn([3, 8]);
    const product = kept.mul(w).sum();
    noGrad(() => geluInPlace(kept));
    expect(() => product.backward()).toThrow('modified by an inplace operation');
    const y = randn([1, 3, 8]);
    const other = y.mul(w).sum();
    noGrad(() => gateRows(randn([1, 3, 8]), randn([1, 1, 8]), y));
    expect(() => other.backward()).toThrow('modified by an inplace operation');
  });
});

test('autocast keeps no cast without history: weights used without gradients first still get theirs', () => {
  scope(() => {
    const [x, w] = [randn([4, 8]), randn([8, 8]).requiresGrad_()];
    const loss = autocast({ device: 'cpu', dtype: 'bfloat16' }, () => {
      noGrad(() => linear(x, w));
      return linear(x, w).to('float32').square().sum();
    });
    loss.backward();
    expect(w.grad?.shape).toEqual([8, 8]);
  });
});
