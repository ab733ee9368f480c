import { manualSeed, memoryStats, noGrad, rand, randint, scope, setNumThreads, type Tensor } from '@tessera/torch';
import { afterAll, expect, it } from 'vitest';
import { Conv2d } from '../nn/layers.ts';
import { initialise, Module, type ParameterBuilder } from '../nn/module.ts';
import { LlamaGenVq } from './llamagen-vq.ts';
import { maskgitPreset } from './maskgit-config.ts';
import { MaskgitVqgan } from './maskgit-vqgan.ts';
import type { Tokenizer } from './tokenizer.ts';
import { upsampleAndConvolve } from './upsample.ts';
import { vqPreset } from './vq-config.ts';

setNumThreads(1);

const narrow = { channels: 8, channelMultipliers: [1, 2, 4], codebookSize: 30, codeDim: 4, groupNormGroups: 4 };

function tokenizers(): Tokenizer[] {
  manualSeed(3);
  const vq = vqPreset('llamagen-vq16', { ...narrow, latentChannels: 8, decoderResBlocks: 2, usageFifo: 0 });
  return [
    initialise((p) => new MaskgitVqgan(maskgitPreset('maskgit-vqgan', { ...narrow, resBlocks: 2 }), p)),
    initialise((p) => new LlamaGenVq(vq, p)),
  ].map((tokenizer) => {
    noGrad(() =>
      scope(() => {
        // Norms that do something, and codes that differ: fresh ones are nearly equal.
        for (const [name, tensor] of tokenizer.state) if (name.includes('norm')) tensor.add_(rand(tensor.shape));
        tokenizer.quantizer.table.copy_(rand(tokenizer.quantizer.table.shape).sub(0.5).mul(4));
      }),
    );
    return tokenizer;
  });
}

const all = tokenizers();
afterAll(() => {
  for (const tokenizer of all) tokenizer.dispose();
});

it.each(
  all.flatMap((tokenizer) =>
    [
      [10, 6, 3],
      [7, 5, 1],
      [9, 4, 8],
    ].map(([rows, columns, band]) => [tokenizer.family, rows!, columns!, band!, tokenizer] as const),
  ),
)('%s: %i×%i tokens in bands of %i rows are the whole decode', (_, rows, columns, band, tokenizer) =>
  noGrad(() => {
    const before = memoryStats().liveTensors;
    scope(() => {
      const tokens = randint(0, 30, [2, rows * columns]);
      const codes = tokenizer.quantizer.lookUp(tokens.narrow(0, 0, 1), rows, columns);
      const whole = tokenizer.decodeLatent(codes);
      const banded = tokenizer.decodeLatentInBands(codes, band);
      expect(banded.shape).toEqual(whole.shape);
      expect(banded.sub(whole).abs().amax().item() / whole.abs().amax().item()).toBeLessThan(2e-5);
      // Not a picture of one colour.
      expect(whole.sub(whole.mean()).abs().amax().item()).toBeGreaterThan(0.1);
      const pictures = tokenizer.decodeInBands(tokens, [rows, columns], band);
      expect(
        pictures
          .sub(tokenizer.decode(tokens, [rows, columns]))
          .abs()
          .amax()
          .item(),
      ).toBeLessThan(1e-4);
    });
    expect(memoryStats().liveTensors).toBe(before);
  }),
);

it('takes a grid that fits one band whole, and refuses bands of no rows', () =>
  noGrad(() =>
    scope(() => {
      const tokenizer = all[0]!;
      const tokens = randint(0, 30, [1, 12]);
      expect(tokenizer.decodeInBands(tokens, [3, 4], 3).equal(tokenizer.decode(tokens, [3, 4]))).toBe(true);
      for (const rows of [0, 1.5]) {
        expect(() => tokenizer.decodeInBands(tokens, [3, 4], rows)).toThrow(
          'Expected bands of 1 row of tokens or more',
        );
      }
    }),
  ));

class OneConv extends Module {
  readonly conv: Conv2d;
  constructor(p: ParameterBuilder, bias: boolean) {
    super(p);
    this.conv = new Conv2d(p.child('conv'), 5, 3, 3, { padding: 1, bias });
  }
}

it.each([true, false])('doubling on the small map equals doubling first (bias: %s)', (bias) =>
  scope(() => {
    const { conv } = initialise((p) => new OneConv(p, bias));
    const x = rand([2, 5, 3, 4]);
    const plain: Tensor = upsampleAndConvolve(x, conv);
    const fast = noGrad(() => upsampleAndConvolve(x, conv));
    expect(fast.shape).toEqual([2, 3, 6, 8]);
    expect(fast.allclose(plain, 1e-5, 1e-6)).toBe(true);
    for (const tensor of [conv.weight, conv.bias]) tensor?.dispose();
  }),
);
