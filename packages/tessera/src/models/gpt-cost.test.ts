import { patchStages } from '@tessera/schedule';
import { expect, test } from 'vitest';
import type { GptConfig } from './gpt-config.ts';
import { costShare, levelCosts } from './gpt-cost.ts';
import { type ModelPreset, modelPreset } from './presets.ts';

const configOf = (name: ModelPreset, gridSize = 16): GptConfig => modelPreset(name, { gridSize }).config as GptConfig;
const gigamacs = (macs: number): number => Math.round(macs / 1e8) / 10;

test.each([
  ['gpt-b', [26.2, 6.3, 1.6, 0.4], 62.3],
  ['gpt-l', [86.4, 21.0, 5.2, 1.3], 203.6],
  ['gpt-xl', [198.7, 48.5, 12.1, 3.0], 464.0],
  ['gpt-xxl', [364.0, 89.2, 22.2, 5.5], 846.3],
  ['gpt-3b', [788.6, 195.3, 48.7, 12.2], 1802.6],
] as const)('%s costs what the published curve says', (name, levels, large) => {
  expect(levelCosts(configOf(name)).map(({ macs }) => gigamacs(macs))).toEqual(levels);
  expect(levelCosts(configOf(name)).map(({ positions }) => positions)).toEqual([256, 64, 16, 4]);
  expect(gigamacs(levelCosts(configOf(name, 24))[0]!.macs)).toBe(large);
});

test.each([
  [2, 0.5, 0.621, 0.624],
  [3, 0.5, 0.575, 0.577],
  [4, 0.5, 0.57, 0.572],
  [2, 0.67, 0.492, 0.496],
  [4, 0.67, 0.397, 0.399],
])('level %i at rate %f costs a share of plain training', (patchLevel, epochRate, small, large) => {
  const stages = patchStages({ patchLevel, epochRate }, 300);
  expect(costShare(configOf('gpt-b'), stages)).toBeCloseTo(small, 3);
  expect(costShare(configOf('gpt-3b'), stages)).toBeCloseTo(large, 3);
});
