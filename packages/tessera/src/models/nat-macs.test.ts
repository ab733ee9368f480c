import { enatStrategy, maskCounts } from '@tessera/schedule';
import { countMacs, keep, manualSeed, noGrad, scope, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { initialise } from '../nn/module.ts';
import { AutoNat, type AutoNatConfig } from './autonat.ts';
import { Enat, type EnatConfig } from './enat.ts';
import { autonatStepMacs, enatSetupMacs, enatStepMacs } from './nat-macs.ts';
import { modelPreset } from './presets.ts';

const giga = (macs: number): string => (macs / 1e9).toFixed(2);

describe('the published counts', () => {
  it('AutoNAT-L, any step', () => {
    const config = modelPreset('autonat-l').config as AutoNatConfig;
    expect(giga(autonatStepMacs(config, { masked: 100, fresh: 9, reused: 147 }).reference)).toBe('52.00');
  });

  it('ENAT-L, step by step, with temporal reuse and without', () => {
    const config = modelPreset('enat-l').config as EnatConfig;
    const { maskedIn } = maskCounts(enatStrategy({ numSteps: 8 }), 256);
    const costs = maskedIn.map((masked, i) => {
      const visible = 256 - masked;
      const before = i === 0 ? 0 : 256 - maskedIn[i - 1]!;
      return [
        enatStepMacs(config, { masked, fresh: visible - before, reused: before }).reference,
        enatStepMacs(config, { masked, fresh: visible, reused: 0 }).reference,
      ] as const;
    });
    expect(costs.map(([reuse]) => giga(reuse)).join(' ')).toBe('7.26 8.72 11.45 14.26 16.88 20.02 22.94 25.30');
    expect(costs.map(([, plain]) => giga(plain)).join(' ')).toBe('7.26 8.72 12.56 18.75 26.81 37.08 49.10 62.12');
  });
});

describe('what is computed is what the closed form says', () => {
  const SIZES = {
    gridSize: 4,
    codebookSize: 12,
    numClasses: 3,
    embedDim: 24,
    numHeads: 3,
    mlpRatio: 3,
    tokenDropout: 0,
  };
  const tokens = (): ReturnType<typeof tensor> => tensor([Array.from({ length: 16 }, (_, p) => p % 12)], 'int64');
  const positions = (from: number, to: number) =>
    tensor([Array.from({ length: to - from }, (_, i) => from + i)], 'int64');

  it('AutoNAT', () => {
    manualSeed(1);
    const config = { ...SIZES, depth: 4 };
    const model = initialise((p) => new AutoNat(config, p));
    const session = model.startSession(tensor([1], 'int64'), false);
    const { macs } = countMacs(() =>
      scope(() => void session.predict({ tokens: tokens(), masked: positions(5, 16), fresh: undefined }, 'done')),
    );
    expect(macs).toBe(autonatStepMacs(config, { masked: 11, fresh: 0, reused: 5 }).computed);
    session.dispose();
    model.dispose();
  });

  it('ENAT, over three steps, its modulations and first look at mask tokens once', () => {
    manualSeed(1);
    const config = { ...SIZES, encoderDepth: 3, decoderDepth: 2 };
    const model = initialise((p) => new Enat(config, p));
    const labels = tensor([1], 'int64');
    const conditioning = noGrad(() => scope(() => keep(model.condition(labels))));
    const ofModulations = countMacs(() => noGrad(() => scope(() => void model.condition(labels)))).macs;
    const ofMaskTokens = countMacs(() =>
      noGrad(() => scope(() => void model.maskTokens(positions(0, 16), conditioning))),
    ).macs;
    expect(ofModulations + ofMaskTokens).toBe(enatSetupMacs(config));
    conditioning.dispose();
    const session = model.startSession(labels, true);
    const step = (fresh: [number, number] | undefined, masked: number, guidance: 'now' | 'later' | 'done') =>
      countMacs(() =>
        scope(
          () =>
            void session.predict(
              {
                tokens: tokens(),
                masked: positions(masked, 16),
                fresh: fresh === undefined ? undefined : positions(...fresh),
              },
              guidance,
            ),
        ),
      ).macs;
    const first = enatStepMacs(config, { masked: 16, fresh: 0, reused: 0 });
    const second = enatStepMacs(config, { masked: 12, fresh: 4, reused: 0 });
    const third = enatStepMacs(config, { masked: 6, fresh: 6, reused: 4 });
    // The other branch: nothing of it while nothing is visible, its state alone where its logits are not wanted.
    expect(step(undefined, 0, 'later')).toBe(first.computed + 2 * ofMaskTokens);
    expect(step([0, 4], 4, 'later')).toBe(second.computed + second.state);
    expect(step([4, 10], 10, 'now')).toBe(2 * third.computed);
    expect(enatStepMacs(config, { masked: 16, fresh: 0, reused: 0 }).state).toBe(0);
    session.dispose();
    model.dispose();
  });

  it('ENAT, while nothing is visible: a row a class and one for the null label, each with its own logits', () => {
    manualSeed(1);
    const config = { ...SIZES, encoderDepth: 1, decoderDepth: 2 };
    const model = initialise((p) => new Enat(config, p));
    noGrad(() => {
      for (const parameter of model.state.values()) parameter.add_(parameter.randnLike().mul(0.1));
    });
    const { computed } = enatStepMacs(config, { masked: 16, fresh: 0, reused: 0 });
    const first = computed + 3 * 16 * 24 * 24; // with the first block's queries, keys and values
    const predict = (labels: number[]) => {
      const session = model.startSession(tensor(labels, 'int64'), true);
      const input = {
        tokens: tokens().expand([labels.length, 16]),
        masked: positions(0, 16).expand([labels.length, 16]),
        fresh: undefined,
      };
      const { macs, result } = countMacs(() => session.predict(input, 'now'));
      session.dispose();
      return { macs, ...result };
    };
    scope(() => {
      const { macs, cond, uncond, maskedFeatures } = predict([2, 0, 2, 2]);
      expect(macs).toBe(3 * first);
      expect(maskedFeatures.shape).toEqual([8, 16, 24]);
      for (const [row, label] of [2, 0, 2, 2].entries()) {
        const alone = predict([label]);
        expect(cond.narrow(0, row, 1).sub(alone.cond).abs().max().item()).toBeLessThan(1e-5);
        expect(uncond!.narrow(0, row, 1).sub(alone.uncond!).abs().max().item()).toBeLessThan(1e-5);
      }
      expect(
        cond
          .narrow(0, 0, 1)
          .sub(cond.narrow(0, 1, 1))
          .abs()
          .max()
          .item(),
      ).toBeGreaterThan(1e-2);
    });
    model.dispose();
  });
});
