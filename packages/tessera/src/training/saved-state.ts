/**
 * What a checkpoint holds: the weights, moving averages and optimizer's moments of each network (trained-network.ts), the
 * task's memory and `state.json`, which is all that a resumed run cannot compute from the step (design rule 4: no
 * generator states).
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { saveSafetensors, scope } from '@tessera/torch';
import { z } from 'zod';
import { loadInto } from '../nn/state-dict.ts';
import type { CheckpointFile } from './checkpoint.ts';
import type { Ranks } from './ranks.ts';
import { readTensors } from './read-tensors.ts';
import type { TrainingTask } from './task.ts';
import type { TrainedNetwork } from './trained-network.ts';
import { TrainingError } from './training-error.ts';

/** The task's memory, where it has one. */
const MEMORY = 'task.safetensors';

/** JSON has no NaN: it comes back from null. */
const sum = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

const savedStateSchema = z.strictObject({
  formatVersion: z.literal(1),
  /** Optimizer steps done. */
  step: z.int().min(0),
  task: z.string(),
  configHash: z.string(),
  /** Bytes of the run's growing files at this moment. */
  lengths: z.strictObject({ metrics: z.int().min(0), events: z.int().min(0) }),
  /** The unfinished logging interval, see IntervalMetrics. */
  interval: z.record(z.string(), z.tuple([z.int().min(1), sum, sum])),
  /** Time spent training so far, over all starts. */
  seconds: z.number().min(0),
  torch: z.string(),
  threads: z.int().min(1),
  /** Of the loss, where it is scaled: see GradScaler. */
  lossScale: z.strictObject({ scale: z.number().positive(), growthTracker: z.int().min(0) }).optional(),
  /** Absent for one. */
  ranks: z.int().min(1).optional(),
});

export type SavedState = z.output<typeof savedStateSchema>;

/**
 * The files of a checkpoint that this rank writes, for writeCheckpoint.
 *
 * @param state asked for when its file is written, on the first rank alone
 */
export function stateFiles(
  task: TrainingTask,
  networks: readonly TrainedNetwork[],
  ranks: Ranks,
  state: () => SavedState,
): CheckpointFile[] {
  const { memory } = task;
  const files = networks.flatMap((network) => network.files());
  if (!ranks.isFirst) return files;
  if (memory !== undefined) files.push([MEMORY, (path) => saveSafetensors(path, memory)]);
  files.push(['state.json', (path) => writeFileSync(path, `${JSON.stringify(state(), undefined, 2)}\n`)]);
  return files;
}

export function readState(checkpoint: string): SavedState {
  const path = join(checkpoint, 'state.json');
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new TrainingError('RUN_FOLDER', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const result = savedStateSchema.safeParse(content);
  if (result.success) return result.data;
  throw new TrainingError(
    'RUN_FOLDER',
    `${path} is not the state of a run of this version (${z.prettifyError(result.error)}): use the version that wrote ` +
      'it, or another folder.',
    { cause: result.error },
  );
}

/** Puts a checkpoint's tensors in place. */
export function restoreTensors(checkpoint: string, task: TrainingTask, networks: readonly TrainedNetwork[]): void {
  for (const network of networks) network.restore(checkpoint);
  const { memory } = task;
  if (memory === undefined) return;
  const path = join(checkpoint, MEMORY);
  scope(() => loadInto({ state: memory }, readTensors(path), path));
}
