// The tables of paper-numbers-autonat-enat.md, section 3: GMACs of a whole image, to the printed digit.
import { autonatInitialStrategy, autonatSearched8, enatStrategy, resolveSteps } from '@tessera/schedule';
import { describe, expect, it } from 'vitest';
import { type ModelPreset, modelPreset } from '../../models/presets.ts';
import { familyOf } from '../../models/registry.ts';
import { generationCost, maskgitDecoderMacs } from './generation-macs.ts';

const giga = (macs: number): string => (macs / 1e9).toFixed(1);

function costOf(name: ModelPreset, numSteps: number) {
  const { family, config } = modelPreset(name);
  const strategy =
    family === 'autonat' ? autonatInitialStrategy(numSteps) : enatStrategy({ numSteps, guidanceScale: 3 });
  return { ...generationCost(familyOf(family), config, strategy)!, decoder: maskgitDecoderMacs(config.gridSize) };
}

describe('whole images', () => {
  it.each([
    [4, '509.3', '241.3', '74.0', '998.4', '312.6'],
    [6, '717.3', '297.2', '102.0', '1234.0', '430.5'],
    [8, '925.3', '347.0', '126.8', '1440.2', '533.6'],
    [10, '1133.3', '392.8', '149.8', '1632.9', '629.9'],
    [12, '1341.4', '438.1', '172.4', '1819.6', '723.3'],
    [16, '1757.4', '525.7', '216.2', '2182.9', '904.9'],
  ])('at T = %i', (numSteps, autonat, enat, enatBranch, enat512, enat512Branch) => {
    const [a, e, e512] = [costOf('autonat-l', numSteps), costOf('enat-l', numSteps), costOf('enat-l-512', numSteps)];
    expect(giga(a.reference + a.decoder)).toBe(autonat);
    expect(giga(e.reference + e.decoder)).toBe(enat);
    expect(giga(e.reference / 2)).toBe(enatBranch);
    expect(giga(e512.reference + e512.decoder)).toBe(enat512);
    expect(giga(e512.reference / 2)).toBe(enat512Branch);
  });

  it('the decoder', () => {
    expect((maskgitDecoderMacs(16) / 1e9).toFixed(2)).toBe('93.27');
    expect((maskgitDecoderMacs(32) / 1e9).toFixed(2)).toBe('373.09');
  });
});

describe('what is computed here', () => {
  it('is less: one branch where guidance is off, the head where tokens are masked', () => {
    const e = costOf('enat-l', 8);
    expect(e.steps[0]).toMatchObject({ masked: 256, guided: false });
    expect(e.computed).toBeLessThan(0.97 * e.reference);
    expect(e.steps[0]!.computed).toBeLessThan(e.steps[0]!.reference);

    const { family, config } = modelPreset('autonat-l');
    const searched = generationCost(familyOf(family), config, autonatSearched8())!;
    const whole = generationCost(familyOf(family), config, { ...autonatSearched8(), skipGuidanceBelow: 0 })!;
    expect(searched.steps.map((step) => step.guided)).toEqual([false, false, false, true, true, true, true, true]);
    expect(resolveSteps(autonatSearched8(), 256).map((step) => step.maskedIn)).toEqual([
      256, 244, 225, 203, 190, 159, 104, 66,
    ]);
    // Three of sixteen passes are left out.
    expect(searched.computed / whole.computed).toBeCloseTo(13 / 16, 2);
  });
});
