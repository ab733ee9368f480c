import { enatStrategy } from '@tessera/schedule';
import { manualSeed, scope } from '@tessera/torch';
import { expect, test } from 'vitest';
import { AutoNat, autonatConfigSchema } from '../models/autonat.ts';
import { initialise } from '../nn/module.ts';
import { generateTokens } from './masked-generation.ts';
import { philoxNoise } from './noise-source.ts';
import { setWeightsType } from './open-generator.ts';

const SIZES = { gridSize: 4, codebookSize: 32, numClasses: 3, embedDim: 16, depth: 2, numHeads: 2 };

test.runIf(process.arch === 'x64')('int8 changes what a NAT model computes, float32 does not', () => {
  manualSeed(3);
  const model = initialise((p) => new AutoNat(autonatConfigSchema.parse(SIZES), p));
  const firstLogits = (): number[] =>
    scope(() => {
      const logits: number[][] = [];
      generateTokens(model, {
        strategy: enatStrategy({ numSteps: 1 }),
        labels: [1],
        noise: philoxNoise(0, [0]),
        observe: ({ prediction }) => logits.push(prediction.cond.toNumbers()),
      });
      return logits[0]!;
    });
  const exact = firstLogits();
  setWeightsType(model, undefined);
  setWeightsType(model, 'float32');
  expect(firstLogits()).toEqual(exact);
  setWeightsType(model, 'int8');
  const rounded = firstLogits();
  expect(rounded).not.toEqual(exact);
  const worst = Math.max(...exact.map((x, i) => Math.abs(x - rounded[i]!)));
  expect(worst).toBeLessThan(0.1 * Math.max(...exact.map(Math.abs)));
  setWeightsType(model, 'int8'); // twice is once
  expect(firstLogits()).toEqual(rounded);
  model.dispose();
});
