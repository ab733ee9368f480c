import { autonatSearched8, ENAT_PRESETS, enatStrategy, isAutoregressive, type Strategy } from '@tessera/schedule';
import { describe, expect, it } from 'vitest';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import { chooseSampling, type StrategyChoice } from './choose-strategy.ts';
import { ownStrategy, presetStrategy, strategyOfSizes } from './own-strategy.ts';

const KINDS = { enat: 'masked', autonat: 'masked', gpt: 'autoregressive' } as const;

function sampled(preset: ModelPreset | undefined, family: keyof typeof KINDS, choice: StrategyChoice = {}) {
  const generation = KINDS[family];
  return chooseSampling(choice, ownStrategy(preset, { family, generation }), generation);
}

describe('how a checkpoint without a strategy is sampled', () => {
  it('ENAT: by its published settings, which flags of the same values do not change', () => {
    expect(sampled('enat-l', 'enat')).toEqual(enatStrategy(ENAT_PRESETS[256]));
    expect(sampled('enat-l', 'enat', ENAT_PRESETS[256])).toEqual(enatStrategy(ENAT_PRESETS[256]));
    const guided = sampled('enat-l', 'enat', { guidanceScale: 3.5 }) as Strategy;
    expect(guided.steps.at(-1)!.guidanceScale).toBe(1 + (2.5 * 7) / 8);
    expect(sampled('enat-l-512', 'enat', { numSteps: 12, sampleTemperature: 5 })).toEqual(
      enatStrategy({ ...ENAT_PRESETS[512], numSteps: 12, sampleTemperature: 5 }),
    );
    expect(presetStrategy('enat-l-512')).toEqual(enatStrategy(ENAT_PRESETS[512]));
  });

  it('AutoNAT: by its searched list, of 8 steps alone', () => {
    expect(sampled('autonat-l', 'autonat')).toEqual(autonatSearched8());
    expect(sampled('autonat-l', 'autonat', { numSteps: 8 })).toEqual(autonatSearched8());
    expect(() => sampled('autonat-l', 'autonat', { numSteps: 12 })).toThrow(/a list of 8 steps.*cannot be 12.*"enat"/);
  });

  it('GPT: with guidance 2, named or not', () => {
    for (const preset of ['gpt-b', 'gpt-nano', undefined] as const) {
      const settings = sampled(preset, 'gpt');
      expect(settings).toMatchObject({ guidanceScale: 2, topK: 0, temperature: 1 });
      expect(isAutoregressive(settings)).toBe(true);
    }
    expect(sampled('gpt-b', 'gpt', { guidanceScale: 4 })).toMatchObject({ guidanceScale: 4 });
  });

  it('another strategy where one is named; the default formula where nobody says which model it is', () => {
    expect(sampled('enat-l', 'enat', { strategy: 'autonat-searched' })).toEqual(autonatSearched8());
    expect(sampled(undefined, 'autonat')).toEqual(enatStrategy({ numSteps: 8 }));
    expect(sampled('autonat-l', 'enat')).toEqual(enatStrategy({ numSteps: 8 }));
    expect(sampled('gpt-b', 'enat')).toEqual(enatStrategy({ numSteps: 8 }));
  });

  it('a network without a name: as the preset of its sizes, whatever its classes, else as the nearest published one', () => {
    const of = (name: ModelPreset, changes: object = {}) => {
      const { family, config } = modelPreset(name);
      return strategyOfSizes(family, { ...config, ...changes });
    };
    for (const name of ['autonat-l', 'autonat-nano', 'enat-l', 'enat-l-512', 'enat-nano', 'gpt-b'] as const) {
      expect(of(name, { numClasses: 7, numHeads: 1 })).toEqual(presetStrategy(name));
    }
    expect(of('autonat-nano', { depth: 9 })).toEqual(autonatSearched8());
    expect(of('enat-nano', { embedDim: 48 })).toEqual(enatStrategy(ENAT_PRESETS[256]));
    expect(of('enat-l-512', { encoderDepth: 3 })).toEqual(enatStrategy(ENAT_PRESETS[512]));
  });
});
