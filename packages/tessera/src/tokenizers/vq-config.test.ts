import { describe, expect, it } from 'vitest';
import { downsampleFactor, tokenGrid, vqConfigSchema, vqPreset, vqPresetNames } from './vq-config.ts';

describe('vqConfigSchema', () => {
  it('fills in the official values', () => {
    expect(vqPreset('llamagen-vq16')).toEqual({
      channels: 128,
      channelMultipliers: [1, 1, 2, 2, 4],
      latentChannels: 256,
      codebookSize: 16384,
      codeDim: 8,
      encoderResBlocks: 2,
      decoderResBlocks: 3,
      groupNormGroups: 32,
      l2Norm: true,
      deepestAttention: true,
      middleAttention: true,
      commitBeta: 0.25,
      entropyRatio: 0,
      usageFifo: 65536,
    });
  });

  it('accepts every preset', () => {
    for (const name of vqPresetNames) expect(() => vqPreset(name)).not.toThrow();
  });

  it('names the level whose width the groups do not divide', () => {
    const result = vqConfigSchema.safeParse({ ...vqPreset('vq-small'), channels: 24, channelMultipliers: [1, 2], groupNormGroups: 16 }); // biome-ignore format: one case
    expect(result.error?.issues.map(({ path, message }) => [path, message])).toEqual([
      [['groupNormGroups'], "expected a divisor of every level's width, got 16 with width 24 at level 0"],
    ]);
  });

  it('suggests the key that was meant', () => {
    const result = vqConfigSchema.safeParse({ ...vqPreset('vq-small'), codeBookSize: 3 });
    expect(result.error?.issues[0]?.message).toContain('"codebookSize"');
  });
});

describe('tokenGrid', () => {
  const config = vqPreset('vq-small'); // two halvings

  it('counts tokens', () => {
    expect(downsampleFactor(config)).toBe(4);
    expect(tokenGrid(config, 32, 32)).toEqual([8, 8]);
    expect(tokenGrid(config, 4, 40)).toEqual([1, 10]);
    expect(tokenGrid(vqPreset('vq-small-64'), 64, 64)).toEqual([8, 8]);
  });

  it.each([
    [30, 32],
    [32, 34],
    [0, 32],
  ])('refuses %i×%i', (height, width) => {
    expect(() => tokenGrid(config, height, width)).toThrow(`multiples of 4 (2 halvings), got ${width}×${height}`);
  });
});
