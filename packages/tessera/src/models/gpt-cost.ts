/**
 * What a GPT costs to train and to run, by counting: multiply-accumulates of one forward pass of an image at each side
 * of patches, blocks (the scales of their norms too) and output head, with the whole n × n attention, embeddings free. It is the unit in which the
 * next-patch paper draws its costs (arXiv 2412.15321, figure 1).
 */

import { type PatchStage, patchStages, positionsOf, positionsOfRun } from '@tessera/schedule';
import type { LevelCost, PatchCosts } from './family.ts';
import { type GptConfig, gptSizes } from './gpt-config.ts';

/** Cost of a pass over one image whose cells are patchSide × patchSide tokens. */
export function levelCost(config: GptConfig, patchSide: number): LevelCost {
  const { embedDim: D, depth, codebookSize } = config;
  const { headDim, numKvHeads, ffnHidden } = gptSizes(config);
  const positions = positionsOf(config.gridSize, patchSide);
  const attentionWeights = D * (D + 2 * numKvHeads * headDim) + D * D;
  const block = attentionWeights + 3 * D * ffnHidden + 2 * D;
  const perPosition = depth * block + D + D * codebookSize;
  const attention = depth * 2 * D * positions * positions;
  return { patchSide, positions, macs: perPosition * positions + attention };
}

/** Costs of all patch sides 1, 2, 4, … that divide the grid, fine to coarse, up to `most`. */
export function levelCosts(config: GptConfig, most = 8): LevelCost[] {
  const sides = [1, 2, 4, 8, 16, 32].filter((side) => side <= most && config.gridSize % side === 0);
  return sides.map((side) => levelCost(config, side));
}

/** Cost of a run in stages as a share of plain training of the same length. */
export function costShare(config: GptConfig, stages: readonly PatchStage[]): number {
  let total = 0;
  let start = 0;
  for (const { patchSide, end } of stages) {
    total += Math.max(0, end - start) * levelCost(config, patchSide).macs;
    start = Math.max(start, end);
  }
  return total / (start * levelCost(config, 1).macs);
}

/** The stages that the released trainers and their commands use. */
const SCHEDULES = [
  { patchLevel: 2, epochRate: 0.5 },
  { patchLevel: 3, epochRate: 0.5 },
  { patchLevel: 4, epochRate: 0.5 },
  { patchLevel: 2, epochRate: 0.67 },
  { patchLevel: 4, epochRate: 0.67 },
];
const EPOCHS = 300;

/** Costs by patch side, and of those schedules for 300 epochs that fit the grid. */
export function gptPatchCosts(config: GptConfig): PatchCosts {
  const levels = levelCosts(config);
  const coarsest = levels.at(-1)!.patchSide;
  const schedules = SCHEDULES.filter(({ patchLevel }) => 2 ** (patchLevel - 1) <= coarsest).map((schedule) => {
    const stages = patchStages(schedule, EPOCHS);
    const positions = positionsOfRun(stages, config.gridSize) / (EPOCHS * positionsOf(config.gridSize, 1));
    return { ...schedule, positions, macs: costShare(config, stages) };
  });
  return { levels, schedules };
}
