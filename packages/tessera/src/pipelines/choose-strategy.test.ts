import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy, enatStrategy } from '@tessera/schedule';
import { afterAll, describe, expect, it } from 'vitest';
import { chooseStrategy } from './choose-strategy.ts';

const folder = mkdtempSync(join(tmpdir(), 'tessera-strategy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('chooseStrategy', () => {
  it('gives settings to a named strategy as its parameters', () => {
    expect(chooseStrategy({ strategy: 'enat', numSteps: 12, guidanceScale: 3 }, undefined)).toEqual(
      enatStrategy({ numSteps: 12, guidanceScale: 3 }),
    );
    expect(chooseStrategy({ strategy: 'cosine' }, undefined)).toEqual(cosineStrategy({ numSteps: 8 }));
    expect(chooseStrategy({}, undefined)).toEqual(enatStrategy({ numSteps: 8 }));
  });

  it("keeps the model's own, or scales its columns to the value asked for", () => {
    const own = enatStrategy({ numSteps: 4, guidanceScale: 5 });
    expect(chooseStrategy({}, own)).toEqual(own);
    const changed = chooseStrategy({ guidanceScale: 2.5, sampleTemperature: 3 }, own);
    // w was 0, 1, 2, 3 and is scaled by a half; the temperatures were 4.5, 3, 1.5, 0.
    expect(changed.steps.map((step) => step.guidanceScale)).toEqual([1, 1.5, 2, 2.5]);
    expect(changed.steps.map((step) => step.sampleTemperature)).toEqual([3, 2, 1, 0]);
    expect(changed.steps.map((step) => step.choiceTemperature)).toEqual(
      own.steps.map((step) => step.choiceTemperature),
    );
    const unguided = chooseStrategy({ guidanceScale: 3 }, cosineStrategy({ numSteps: 2 }));
    expect(unguided.steps.map((step) => step.guidanceScale)).toEqual([3, 3]);
  });

  it("reads our files and AutoNAT's, whose guidance counts from 0", () => {
    const ours = join(folder, 'ours.yaml');
    writeFileSync(ours, JSON.stringify(cosineStrategy({ numSteps: 2 })));
    expect(chooseStrategy({ strategy: ours }, undefined).numSteps).toBe(2);
    const theirs = join(folder, 'theirs.yaml');
    writeFileSync(
      theirs,
      'manual_ratios: [0.5]\nmanual_temp: [1.0]\nmanual_samp_temp: [1.0, 0.5]\nmanual_cfg: [0.25, 2.0]\n',
    );
    expect(chooseStrategy({ strategy: theirs }, undefined).steps.map((step) => step.guidanceScale)).toEqual([1.25, 3]);
  });

  it('says what is wrong with a file', () => {
    const broken = join(folder, 'broken.yaml');
    writeFileSync(broken, 'numSteps: [1,');
    expect(() => chooseStrategy({ strategy: broken }, undefined)).toThrow(/broken\.yaml cannot be read/);
    writeFileSync(broken, 'numStep: 4');
    expect(() => chooseStrategy({ strategy: broken }, undefined)).toThrow(/did you mean "numSteps"/);
    expect(() => chooseStrategy({ strategy: 'gone.yaml' }, undefined)).toThrow(/a strategy file, got "gone.yaml"/);
  });
});
