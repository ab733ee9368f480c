/** The tokenizer of a fit: the shipped one, the shipped one trained further, or a new one; left in a folder. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { manualSeed, type Tensor } from '@tessera/torch';
import type { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { resolveTrainingConfig } from '../../training/config.ts';
import { trainLoop } from '../../training/loop.ts';
import { openRun } from '../../training/run-folder.ts';
import { createVqTask } from '../../training/vq-task.ts';
import { reconstructionPairs } from '../decode-tokens.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import { openTokenizer, writeTokenizerFolder } from '../model-folder.ts';
import { savePicture } from '../pictures.ts';
import { stopped, TrainingNarrator } from '../training-events.ts';
import type { FitImages, LabelledPixels } from './images.ts';
import type { FitPlan } from './plan.ts';

const STAGE = 'tokenizer';

export interface StageContext {
  /** The run folder of the whole fit. */
  out: string;
  plan: FitPlan;
  images: FitImages;
  /** Samples of the shipped model for the report. */
  shippedSamples: string | undefined;
  signal: AbortSignal | undefined;
}

/** Returns the finished tokenizer, owned by the caller. */
export async function* tokenizerStage(
  context: StageContext,
  shipped: LlamaGenVq | undefined,
): AsyncGenerator<PipelineEvent, Tokenizer> {
  const { out, plan } = context;
  const folder = join(out, 'tokenizer');
  if (existsSync(folder)) return openTokenizer(folder);
  const { mode, reason } = plan.tokenizer;
  yield { kind: 'stage', stage: STAGE, message: `${SAID[mode]}: ${reason}` };
  if (mode === 'keep') {
    if (shipped === undefined)
      throw new PipelineError('NO_TOKENIZER', 'The plan keeps the shipped tokenizer, which is not installed.');
    writeTokenizerFolder(folder, shipped);
    return openTokenizer(folder);
  }
  yield* trainTokenizer(context, mode === 'fine-tune' ? shipped?.state : undefined, folder);
  return openTokenizer(folder);
}

const SAID = {
  keep: 'keeping the shipped tokenizer',
  'fine-tune': 'fine-tuning the shipped tokenizer',
  train: 'training a tokenizer',
} as const;

async function* trainTokenizer(
  { out, plan, images, signal }: StageContext,
  init: ReadonlyMap<string, Tensor> | undefined,
  folder: string,
): AsyncGenerator<PipelineEvent> {
  const { config, recipe } = plan.tokenizer;
  const training = resolveTrainingConfig(plan.tokenizer.training, 'the plan of the tokenizer');
  const run = openRun(join(out, 'tokenizer-training'), { config, recipe, training, data: plan.dataFingerprint });
  manualSeed(plan.seed);
  const task = createVqTask({
    config,
    recipe,
    images: imagesOf(images.train),
    ...(images.heldOut.labels.length > 0 ? { heldOut: imagesOf(images.heldOut) } : {}),
    ...(init === undefined ? {} : { init: { tensors: init, where: 'the shipped tokenizer' } }),
  });
  task.model.trainable();
  const shown = images.heldOut.labels.length > 0 ? images.heldOut : images.train;
  const narrator = new TrainingNarrator(STAGE, training.globalBatch);
  try {
    for await (const event of trainLoop(task, training, run, signal === undefined ? {} : { signal })) {
      yield* narrator.tell(event);
      if (event.kind === 'sample') {
        const path = join(event.folder, `step-${String(event.step).padStart(7, '0')}.png`);
        await savePicture(path, reconstructionPairs(task.ema, shown, PAIRS), { columns: 16, scale: 2 });
        yield { kind: 'file', path, what: 'held-out images above their reconstructions' };
      }
      if (event.kind === 'end') {
        if (!event.finished) throw stopped();
        writeTokenizerFolder(folder, task.ema);
      }
    }
  } finally {
    run.close();
    task.dispose();
  }
}

const PAIRS = 32;

function imagesOf({ pixels, size }: LabelledPixels): { pixels: Uint8Array; height: number; width: number } {
  return { pixels, height: size, width: size };
}
