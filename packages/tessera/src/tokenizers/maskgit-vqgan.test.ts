import { eye, manualSeed, memoryStats, noGrad, ones, rand, scope, setNumThreads, tensor } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initialise, ParameterBuilder, type ParameterSource } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import { inferMaskgitConfig } from './infer-config.ts';
import { MaskgitResBlock } from './maskgit-blocks.ts';
import { type MaskgitConfigInput, maskgitPreset } from './maskgit-config.ts';
import { MaskgitVqgan } from './maskgit-vqgan.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

const TINY: Partial<MaskgitConfigInput> = { channels: 4, channelMultipliers: [1, 2, 2], codebookSize: 11, codeDim: 3, groupNormGroups: 2 }; // biome-ignore format: one row

function make(): MaskgitVqgan {
  manualSeed(5);
  return initialise((p) => new MaskgitVqgan(maskgitPreset('maskgit-vqgan', TINY), p));
}

describe('MaskgitVqgan', () => {
  let model: MaskgitVqgan;
  beforeAll(() => {
    model = make();
  });
  afterAll(() => model.dispose());

  it('encodes any size of whole tokens, each image by itself, and decodes into [0, 1]', () =>
    noGrad(() =>
      scope(() => {
        const images = rand([3, 3, 8, 12]);
        const tokens = model.encode(images);
        expect([tokens.shape, tokens.dtype]).toEqual([[3, 6], 'int64']);
        expect(model.encode(images.narrow(0, 2, 1)).toNumbers()).toEqual(tokens.select(0, 2).toNumbers());
        const pictures = model.decode(tokens, [2, 3]);
        expect(pictures.shape).toEqual([3, 3, 8, 12]);
        const raw = model.decodeLatent(model.quantizer.lookUp(tokens, 2, 3));
        expect(pictures.equal(raw.clamp(0, 1))).toBe(true);
        expect(model.reconstruct(images).equal(pictures)).toBe(true);
      }),
    ));

  it('gives the same values with and without gradients, but for the order of sums', () =>
    scope(() => {
      const images = rand([2, 3, 8, 8]);
      const latent = model.encodeToLatent(images);
      expect(noGrad(() => model.encodeToLatent(images)).allclose(latent.detach(), 1e-4, 1e-6)).toBe(true);
      expect(noGrad(() => model.decodeLatent(latent)).allclose(model.decodeLatent(latent).detach(), 1e-4, 1e-6)).toBe(
        true,
      );
    }));

  it('keeps nothing alive but its result', () => {
    const before = memoryStats().liveTensors;
    noGrad(() => scope(() => void model.reconstruct(rand([1, 3, 8, 8]))));
    expect(memoryStats().liveTensors).toBe(before);
  });

  it('has the sizes of the published one, in official order', () => {
    const names: string[] = [];
    let numbers = 0;
    const tiny = ones([1]);
    const builder = new ParameterBuilder({
      take: (name, shape) => {
        names.push(name);
        numbers += shape.reduce((product, side) => product * side, 1);
        return tiny;
      },
    });
    new MaskgitVqgan(maskgitPreset('maskgit-vqgan'), builder);
    tiny.dispose();
    expect([names.length, numbers]).toEqual([168, 54_515_587]);
    expect(names.filter((name) => name.includes('nin_shortcut'))).toEqual([
      'encoder.down.2.block.0.nin_shortcut.weight',
      'encoder.down.4.block.0.nin_shortcut.weight',
      'decoder.up.1.block.0.nin_shortcut.weight',
      'decoder.up.3.block.0.nin_shortcut.weight',
    ]);
    expect(names.at(-1)).toBe('quantize.embedding.weight');
  });

  it('is told by the shapes of its tensors', () => {
    const shapes = new Map([...model.state].map(([name, value]) => [name, value.shape]));
    // The number of groups is not in the shapes: 32 as in the released one.
    expect(() => inferMaskgitConfig(shapes, 'tiny')).toThrow('groupNormGroups');
    const wide = new Map(
      [...shapes].map(([name, shape]) => [name, shape.map((side) => (side % 4 === 0 ? side * 8 : side))]),
    );
    expect(inferMaskgitConfig(wide, 'wide')).toMatchObject({ channels: 32, channelMultipliers: [1, 2, 2], resBlocks: 2, codebookSize: 11, codeDim: 3 }); // biome-ignore format: one row
    expect(() => inferMaskgitConfig(new Map(), 'nothing')).toThrow('nothing is no MaskGIT VQGAN');
  });

  it('loads its own state and refuses one without a tensor', () => {
    const copy = loadModule((p) => new MaskgitVqgan(model.config, p), model.state, 'itself');
    noGrad(() =>
      scope(() => {
        const images = rand([1, 3, 8, 8]);
        expect(copy.reconstruct(images).equal(model.reconstruct(images))).toBe(true);
      }),
    );
    copy.dispose();
  });

  it('says what it expected', () =>
    scope(() => {
      expect(() => model.encode(rand([1, 3, 6, 8]))).toThrow('multiples of 4 (2 halvings), got 8×6');
      expect(() => model.decode(tensor([[1, 2, 3]], 'int64'))).toThrow('Expected a square number of tokens, got 3');
    }));
});

describe('MaskgitResBlock', () => {
  /** Weights one, biases zero. */
  const builder = (): ParameterBuilder =>
    new ParameterBuilder({ take: (name, shape) => ones(shape).mul(name.endsWith('bias') ? 0 : 1) });

  it('keeps its input only where the width stays', () =>
    scope(() => {
      // A constant picture has variance 0 in its group, so the inner path is 0: x stays, or nothing does.
      const x = ones([1, 1, 2, 2]).mul(3);
      expect(new MaskgitResBlock(builder(), 1, 1, 1).forward(x).toNumbers()).toEqual([3, 3, 3, 3]);
      expect(new MaskgitResBlock(builder(), 1, 2, 1).forward(x).toNumbers()).toEqual(new Array(8).fill(0));
    }));

  it('starts the shortcut from its own output', () =>
    scope(() => {
      const x = rand([1, 2, 3, 3]);
      const run = (shortcut: number): number[] => {
        manualSeed(1);
        const take: ParameterSource['take'] = (name, shape) =>
          name.startsWith('nin_shortcut') ? eye(4).mul(shortcut).view(shape) : rand(shape);
        return new MaskgitResBlock(new ParameterBuilder({ take }), 2, 4, 1).forward(x).toNumbers();
      };
      const h = run(0);
      expect(Math.max(...h.map(Math.abs))).toBeGreaterThan(1);
      for (const [i, value] of run(2).entries()) expect(value).toBeCloseTo(3 * h[i]!, 4);
    }));
});
