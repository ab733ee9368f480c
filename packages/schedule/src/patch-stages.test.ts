import { describe, expect, it } from 'vitest';
import { patchStageAt, patchStages, patchStagesSchema, positionsOfRun, stagesInSteps } from './patch-stages.ts';

describe('patchStages', () => {
  it('ends stages at powers of the rate, rounded down', () => {
    const stages = patchStages({ patchLevel: 4, epochRate: 0.67 }, 300);
    expect(stages.map(({ end }) => end)).toEqual([90, 134, 201, 300]);
    expect(stages.map(({ patchSide }) => patchSide)).toEqual([8, 4, 2, 1]);
    expect(stagesInSteps(stages, 10).map(({ end }) => end)).toEqual([900, 1340, 2010, 3000]);
  });

  it('passes over stages of no length', () => {
    const stages = patchStages({ patchLevel: 4, epochRate: 0.5 }, 5);
    const sides = [0, 1, 2, 3, 4, 5, 99].map((place) => patchStageAt(stages, place).patchSide);
    expect(sides).toEqual([4, 2, 1, 1, 1, 1, 1]);
  });

  it('reproduces the fractions of plain training that the paper implies', () => {
    const fraction = (patchLevel: number, epochRate: number) => {
      const stages = patchStages({ patchLevel, epochRate }, 300);
      return positionsOfRun(stages, 16) / (300 * 256);
    };
    expect(fraction(2, 0.5)).toBeCloseTo(0.625, 3);
    expect(fraction(3, 0.5)).toBeCloseTo(0.578, 3);
    expect(fraction(4, 0.5)).toBeCloseTo(0.572, 3);
    expect(fraction(2, 0.67)).toBeCloseTo(0.4975, 3);
    expect(fraction(4, 0.67)).toBeCloseTo(0.4, 3);
  });

  it.each([[{ patchLevel: 0 }], [{ patchLevel: 7 }], [{ epochRate: 1 }], [{ epochRate: 0 }], [{ level: 2 }]])(
    'refuses %j',
    (input) => {
      expect(patchStagesSchema.safeParse(input).success).toBe(false);
    },
  );
});
