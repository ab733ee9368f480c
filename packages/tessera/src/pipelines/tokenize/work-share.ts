/**
 * Which part of a job this process does: share i of n, told by hand (`--shard 2/8`) or by the launcher of a distributed
 * run (torchrun's RANK and WORLD_SIZE). Shares are whole batches, so that the batches, and with them the last bits of the
 * encoder, are the same for any n; nothing is done twice to make shares equal.
 */
import { PipelineError } from '../events.ts';

export interface WorkShare {
  /** From 0. */
  index: number;
  count: number;
}

/** `i/n`, with i from 0 to n - 1. */
export function parseShare(text: string): WorkShare {
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const index = Number(match?.[1]);
  const count = Number(match?.[2]);
  if (match !== null && count >= 1 && index < count) return { index, count };
  throw new PipelineError('SHARE', `Expected a share as i/n with i from 0 to n - 1, such as 0/4, got "${text}".`);
}

/** The share of this process under torchrun, Slurm's srun with torchrun's variables, or `tessera launch`; else all of it. */
export function shareOfRank(environment: Readonly<Record<string, string | undefined>> = process.env): WorkShare {
  const { RANK, WORLD_SIZE } = environment;
  return RANK === undefined || WORLD_SIZE === undefined ? { index: 0, count: 1 } : parseShare(`${RANK}/${WORLD_SIZE}`);
}

/** The batches [first, end) of a share. */
export function batchesOf({ index, count }: WorkShare, numBatches: number): { first: number; end: number } {
  return {
    first: Math.floor((numBatches * index) / count),
    end: Math.floor((numBatches * (index + 1)) / count),
  };
}
