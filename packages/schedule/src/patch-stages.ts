/**
 * The stages of next-patch prediction (Pang et al., arXiv 2412.15321; reference §5.4, §5.7): training begins on coarse
 * cells of tokens and ends on single ones. Level count m gives the patch sides 2^(m-1), …, 2, 1; a stage ends where the
 * run's length times rate^k is reached, k stages before the last. The original counts whole epochs; here the length may
 * as well be in steps or images, so that a small data set can have coarse stages.
 *
 * A position costs about the same at every level, so the cost of a run is its number of positions: gridSize² / side²
 * an image.
 */

import { z } from 'zod';
import { requireInteger } from './schedule-error.ts';
import { strictConfig } from './strict-config.ts';

const MAX_LEVELS = 6;

export const patchStagesSchema = strictConfig({
  /** m, stages of the run; 1 is plain next-token prediction. */
  patchLevel: z.int().min(1).max(MAX_LEVELS).default(1),
  /** The share of a stage's end that the stage before it ends at, in (0, 1). */
  epochRate: z.number().gt(0).lt(1).default(0.5),
});

export type PatchStages = z.output<typeof patchStagesSchema>;

/** A stage that runs: in the unit in which the length was given, from the end of the one before. */
export interface PatchStage {
  /** p: a cell is p × p tokens. */
  patchSide: number;
  /** Where it ends, exclusive. */
  end: number;
}

/** All stages, coarse to fine, those of no length too (their end is not after the one before). */
export function patchStages({ patchLevel, epochRate }: PatchStages, length: number): PatchStage[] {
  requireInteger(length, 1, Number.MAX_SAFE_INTEGER, 'the length of the run');
  return Array.from({ length: patchLevel }, (_, i) => {
    const finer = patchLevel - 1 - i;
    return { patchSide: 2 ** finer, end: Math.floor(length * epochRate ** finer) };
  });
}

/** The same with ends in optimizer steps, from ends in epochs of `stepsPerEpoch` steps. */
export function stagesInSteps(stages: readonly PatchStage[], stepsPerEpoch: number): PatchStage[] {
  return stages.map(({ patchSide, end }) => ({ patchSide, end: end * stepsPerEpoch }));
}

/** The stage at a place of the run: the first that has not ended; the last one from its end on. */
export function patchStageAt(stages: readonly PatchStage[], place: number): PatchStage {
  return stages.find(({ end }) => place < end) ?? stages.at(-1)!;
}

/** Positions of an image, from 1 × 1 cells to coarse. */
export function positionsOf(gridSize: number, patchSide: number): number {
  return (gridSize / patchSide) ** 2;
}

/** Positions that one image costs over the whole run, in the stages' unit. */
export function positionsOfRun(stages: readonly PatchStage[], gridSize: number): number {
  let total = 0;
  let start = 0;
  for (const { patchSide, end } of stages) {
    total += Math.max(0, end - start) * positionsOf(gridSize, patchSide);
    start = Math.max(start, end);
  }
  return total;
}
