import { describe, expect, it } from 'vitest';
import type { GivenFields } from './family.ts';
import { parameterShapes } from './parameter-shapes.ts';
import { type ModelPreset, modelPreset, modelPresetNames } from './presets.ts';
import { familyOf, recogniseFamily } from './registry.ts';

function shapesOf(name: ModelPreset) {
  const { family, config } = modelPreset(name);
  return { family, config, ...parameterShapes((p) => familyOf(family).construct(config, p)) };
}

describe('presets', () => {
  it.each([
    ['autonat-l', 193_655_297],
    ['autonat-l-512', 193_655_297 + 768 * (1024 - 256)],
    ['enat-l', 574_298_113],
    ['enat-l-512', 575_084_545],
  ] as const)('%s has the published number of parameters', (name, count) => {
    expect(shapesOf(name).numParameters).toBe(count);
  });

  it.each(modelPresetNames)('the tensors of %s tell its family, and a configuration with the same tensors', (name) => {
    const { family, config, shapes } = shapesOf(name);
    expect(recogniseFamily(shapes)).toBe(family);
    const row = familyOf(family);
    const inferred = row.inferConfig(shapes, config as GivenFields, 'x');
    expect(parameterShapes((p) => row.construct(inferred, p)).shapes).toEqual(shapes);
    // Of masked families the shapes and what is given tell every field.
    if (row.generation === 'masked') expect(inferred).toEqual(config);
  });

  it('takes changes, and refuses those that a family does not know', () => {
    expect(modelPreset('autonat-nano', { numClasses: 3 }).config.numClasses).toBe(3);
    expect(() => modelPreset('autonat-nano', { encoderDepth: 3 })).toThrow(/model autonat-nano: unknown key/);
    expect(() => modelPreset('autonat-nano', { depth: 5 })).toThrow(/depth/);
  });
});
