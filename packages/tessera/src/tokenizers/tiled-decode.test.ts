import {
  manualSeed,
  memoryStats,
  noGrad,
  randint,
  scope,
  setNumThreads,
  type Tensor,
  upsampleNearest2d,
} from '@tessera/torch';
import { expect, it } from 'vitest';
import { initialise, type ParameterBuilder } from '../nn/module.ts';
import { maskgitPreset } from './maskgit-config.ts';
import { MaskgitVqgan } from './maskgit-vqgan.ts';
import { VectorQuantizer } from './quantizer.ts';
import { decodeTiled } from './tiled-decode.ts';
import { Tokenizer } from './tokenizer.ts';

setNumThreads(1);

/** Every pixel is a number of its token alone, so tiles must make no difference at all. */
class Pointwise extends Tokenizer {
  readonly family = 'pointwise';
  readonly config = {};
  readonly downsampleFactor = 2;
  readonly quantizer: VectorQuantizer;
  largest = 0;

  constructor(p: ParameterBuilder) {
    super(p);
    this.quantizer = new VectorQuantizer(p, { codebookSize: 50, codeDim: 3, l2Norm: false, commitBeta: 0, entropyRatio: 0, usageFifo: 0 }); // biome-ignore format: one row
  }
  encodeToLatent(images: Tensor): Tensor {
    return images;
  }
  decodeLatent(quantized: Tensor): Tensor {
    const [, , y, x] = quantized.shape as [number, number, number, number];
    this.largest = Math.max(this.largest, y, x);
    return upsampleNearest2d(quantized, [2 * y, 2 * x]);
  }
  toNetwork(images: Tensor): Tensor {
    return images;
  }
  fromNetwork(images: Tensor): Tensor {
    return images.abs();
  }
}

it.each([
  [[7, 13], { tile: 4, overlap: 1 }],
  [[5, 5], { tile: 4, overlap: 2 }],
  [[9, 3], { tile: 4, overlap: 0 }],
  [[4, 11], { tile: 4 }],
] as const)(
  'a grid of %j in tiles of %j equals the whole where pixels see only their token',
  ([rows, columns], options) =>
    noGrad(() =>
      scope(() => {
        manualSeed(2);
        const tokenizer = initialise((p) => new Pointwise(p));
        const tokens = randint(0, 50, [2, rows * columns]);
        const whole = tokenizer.decode(tokens, [rows, columns]);
        tokenizer.largest = 0;
        const tiled = decodeTiled(tokenizer, tokens, [rows, columns], options);
        expect(tokenizer.largest).toBe(4);
        expect(tiled.shape).toEqual([2, 3, 2 * rows, 2 * columns]);
        expect(tiled.allclose(whole, 1e-5, 1e-7)).toBe(true);
        tokenizer.dispose();
      }),
    ),
);

it('comes near the whole with a real decoder, nearer with larger tiles, and is the whole where it fits', () =>
  noGrad(() =>
    scope(() => {
      manualSeed(3);
      const config = maskgitPreset('maskgit-vqgan', { channels: 8, channelMultipliers: [1, 2], resBlocks: 1, codebookSize: 30, codeDim: 4, groupNormGroups: 2 }); // biome-ignore format: one row
      const tokenizer = initialise((p) => new MaskgitVqgan(config, p));
      // Fresh codes are nearly equal, and norms would blow up nothing but the borders.
      tokenizer.quantizer.table.mul_(60);
      const tokens = randint(0, 30, [1, 24 * 24]);
      const whole = tokenizer.decode(tokens, [24, 24]);
      const error = (tile: number): number =>
        decodeTiled(tokenizer, tokens, [24, 24], { tile }).sub(whole).square().mean().item();
      const spread = whole.sub(whole.mean()).square().mean().item();
      expect(error(8) / spread).toBeLessThan(0.5);
      expect(error(16)).toBeLessThan(0.3 * error(8));
      expect(error(24)).toBe(0);
      tokenizer.dispose();
    }),
  ));

it('refuses tiles that cannot be, and leaves nothing behind', () =>
  noGrad(() => {
    const before = memoryStats().liveTensors;
    scope(() => {
      const tokenizer = initialise((p) => new Pointwise(p));
      const tokens = randint(0, 50, [1, 16]);
      for (const options of [{ tile: 0 }, { tile: 4, overlap: 3 }, { tile: 2.5 }, { tile: 4, overlap: -1 }]) {
        expect(() => decodeTiled(tokenizer, tokens, [4, 4], options)).toThrow('Expected a tile of at least 1 token');
      }
      decodeTiled(tokenizer, tokens, [4, 4], { tile: 2, overlap: 1 });
      tokenizer.dispose();
    });
    expect(memoryStats().liveTensors).toBe(before);
  }));
