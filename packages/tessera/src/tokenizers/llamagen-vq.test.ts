import { manualSeed, memoryStats, noGrad, rand, scope, setNumThreads, tensor } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initialise } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import { LlamaGenVq } from './llamagen-vq.ts';
import { type VqConfigInput, vqPreset } from './vq-config.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

const TINY: Partial<VqConfigInput> = { channels: 4, channelMultipliers: [1, 2], latentChannels: 6, codebookSize: 11, codeDim: 3, encoderResBlocks: 1, decoderResBlocks: 2, groupNormGroups: 2 }; // biome-ignore format: one row

function make(changes: Partial<VqConfigInput> = {}): LlamaGenVq {
  manualSeed(3);
  return initialise((p) => new LlamaGenVq(vqPreset('vq-small', { ...TINY, ...changes }), p));
}

describe('LlamaGenVq', () => {
  let model: LlamaGenVq;
  beforeAll(() => {
    model = make();
  });
  afterAll(() => model.dispose());

  it('encodes any size of whole tokens, row by row, each image by itself', () =>
    noGrad(() =>
      scope(() => {
        const images = rand([3, 3, 6, 10]);
        const tokens = model.encode(images);
        expect([tokens.shape, tokens.dtype]).toEqual([[3, 15], 'int64']);
        expect(model.encode(images.narrow(0, 1, 1)).toNumbers()).toEqual(tokens.select(0, 1).toNumbers());
        const pictures = model.decode(tokens, [3, 5]);
        expect([pictures.shape, pictures.dtype]).toEqual([[3, 3, 6, 10], 'float32']);
        expect(pictures.amin().item()).toBeGreaterThanOrEqual(0);
        expect(pictures.amax().item()).toBeLessThanOrEqual(1);
        expect(model.reconstruct(images).allclose(pictures)).toBe(true);
      }),
    ));

  it('converts pixels at its boundary', () =>
    noGrad(() =>
      scope(() => {
        const images = rand([1, 3, 4, 4]);
        const inside = model.quantizer.tokens(model.encodeToLatent(images.mul(2).sub(1)));
        expect(model.encode(images).toNumbers()).toEqual(inside.toNumbers());
        const raw = model.decodeLatent(model.quantizer.lookUp(inside, 2, 2));
        const wanted = raw.toNumbers().map((value) => Math.min(1, Math.max(0, (value + 1) / 2)));
        for (const [i, value] of model.decode(inside).toNumbers().entries()) expect(value).toBeCloseTo(wanted[i]!, 6);
      }),
    ));

  it('has the official names, buffers before the table', () => {
    const small = make({ usageFifo: 5, deepestAttention: true, middleAttention: true });
    const names = [...small.state.keys()];
    expect(names.filter((name) => name.startsWith('encoder.') && name.endsWith('.weight'))).toEqual(
      [
        ['conv_in'],
        ['norm1', 'conv1', 'norm2', 'conv2'].map((n) => `conv_blocks.0.res.0.${n}`),
        ['conv_blocks.0.downsample.conv'],
        ['norm1', 'conv1', 'norm2', 'conv2', 'nin_shortcut'].map((n) => `conv_blocks.1.res.0.${n}`),
        ['norm', 'q', 'k', 'v', 'proj_out'].map((n) => `conv_blocks.1.attn.0.${n}`),
        ['norm1', 'conv1', 'norm2', 'conv2'].map((n) => `mid.0.${n}`),
        ['norm', 'q', 'k', 'v', 'proj_out'].map((n) => `mid.1.${n}`),
        ['norm1', 'conv1', 'norm2', 'conv2'].map((n) => `mid.2.${n}`),
        ['norm_out', 'conv_out'],
      ]
        .flat()
        .map((n) => `encoder.${n}.weight`),
    );
    expect(names.slice(-6)).toEqual([
      'quantize.codebook_used',
      'quantize.embedding.weight',
      'quant_conv.weight',
      'quant_conv.bias',
      'post_quant_conv.weight',
      'post_quant_conv.bias',
    ]);
    expect(small.parameters.has('quantize.codebook_used')).toBe(false);
    small.dispose();
  });

  it('loads its own state and refuses one without a tensor', () => {
    const copy = loadModule((p) => new LlamaGenVq(model.config, p), model.state, 'itself');
    noGrad(() =>
      scope(() => {
        const images = rand([2, 3, 8, 8]);
        expect(copy.reconstruct(images).equal(model.reconstruct(images))).toBe(true);
      }),
    );
    copy.dispose();
    const short = new Map([...model.state].filter(([name]) => name !== 'quant_conv.bias'));
    expect(() => loadModule((p) => new LlamaGenVq(model.config, p), short, 'short')).toThrow(
      'missing (quant_conv.bias)',
    );
  });

  it('keeps nothing alive', () => {
    const before = memoryStats().liveTensors;
    noGrad(() => scope(() => void model.reconstruct(rand([1, 3, 8, 8]))));
    expect(memoryStats().liveTensors).toBe(before);
  });

  it('says what it expected', () =>
    scope(() => {
      expect(() => model.encode(rand([1, 3, 7, 8]))).toThrow('multiples of 2 (1 halvings), got 8×7');
      expect(() => model.encode(rand([3, 8, 8]))).toThrow('Expected images of shape [N, 3, Y, X], got [3, 8, 8]');
      expect(() => model.decode(tensor([[1, 2, 3]], 'int64'))).toThrow('Expected a square number of tokens, got 3');
      expect(() => model.decode(tensor([[1, 2, 3]], 'int64'), [2, 2])).toThrow('2·2 = 4 tokens');
      expect(() => model.decode(tensor([1, 2], 'int64'))).toThrow('Expected tokens of shape [N, L], got [2]');
    }));
});
