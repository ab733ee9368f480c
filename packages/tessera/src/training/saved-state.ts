/**
 * What a checkpoint holds: the weights, their moving average, the optimizer's moments and `state.json`, which is all
 * that a resumed run cannot compute from the step (design rule 4: no generator states).
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensorsHeader, readTensorBytes } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { fromBytes, isDType, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import type { AdamW } from '../nn/adamw.ts';
import { loadInto } from '../nn/state-dict.ts';
import type { TrainingTask } from './task.ts';
import { TrainingError } from './training-error.ts';

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
});

export type SavedState = z.output<typeof savedStateSchema>;

/** The files of a checkpoint, for writeCheckpoint. */
export function stateFiles(
  task: TrainingTask,
  optimizer: AdamW,
  state: SavedState,
): Map<string, (path: string) => void> {
  return new Map([
    ['model.safetensors', (path) => saveSafetensors(path, task.model.state)],
    ['ema.safetensors', (path) => saveSafetensors(path, task.ema.state)],
    ['optimizer.safetensors', (path) => saveSafetensors(path, optimizer.state())],
    ['state.json', (path) => writeFileSync(path, `${JSON.stringify(state, undefined, 2)}\n`)],
  ]);
}

export function readState(checkpoint: string): SavedState {
  const path = join(checkpoint, 'state.json');
  const result = savedStateSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (result.success) return result.data;
  throw new TrainingError(
    'RUN_FOLDER',
    `${path} is not the state of a run of this version (${z.prettifyError(result.error)}): use the version that wrote ` +
      'it, or another folder.',
    { cause: result.error },
  );
}

/** Puts a checkpoint's tensors in place. */
export function restoreTensors(checkpoint: string, task: TrainingTask, optimizer: AdamW): void {
  const model = join(checkpoint, 'model.safetensors');
  const ema = join(checkpoint, 'ema.safetensors');
  const moments = join(checkpoint, 'optimizer.safetensors');
  scope(() => loadInto(task.model, readTensors(model), model));
  scope(() => loadInto(task.ema, readTensors(ema), ema));
  scope(() => optimizer.load(readTensors(moments), moments));
}

/** The tensors of a safetensors file, copied: a mapping must not outlive a file that is removed when it gets old. */
export function readTensors(path: string): Map<string, Tensor> {
  return withFile(path, (reader) => {
    const tensors = new Map<string, Tensor>();
    for (const [name, entry] of readSafetensorsHeader(reader).tensors) {
      if (!isDType(entry.dtype)) {
        throw new TrainingError(
          'RUN_FOLDER',
          `${path}: "${name}" is ${entry.dtype}, which no checkpoint of ours holds.`,
        );
      }
      tensors.set(name, fromBytes(Uint8Array.from(readTensorBytes(reader, entry)), entry.shape, entry.dtype));
    }
    return tensors;
  });
}
