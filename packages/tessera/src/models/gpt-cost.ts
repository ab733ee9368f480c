/**
 * What a GPT costs to train and to run, by counting: multiply-accumulates of one forward pass of an image at each side
 * of patches, blocks (the scales of their norms too) and output head, with the whole n × n attention, embeddings free. It is the unit in which the
 * next-patch paper draws its costs (arXiv 2412.15321, figure 1).
 */

import { type PatchStage, positionsOf } from '@tessera/schedule';
import { type GptConfig, gptSizes } from './gpt-config.ts';

export interface LevelCost {
  patchSide: number;
  /** Positions of an image. */
  positions: number;
  /** Multiply-accumulates of a forward pass of one image. */
  macs: number;
}

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
