/** The tokenizer of a fit: the shipped one, the shipped one trained further, or a new one; left in a folder. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { resolveTrainingConfig } from '../../training/config.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import { openTokenizer, writeTokenizerFolder } from '../model-folder.ts';
import { trainTokenizer } from '../tokenizer-training.ts';
import type { FitImages } from './images.ts';
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
  const { out, plan, images, signal } = context;
  const folder = join(out, 'tokenizer');
  if (existsSync(folder)) return openTokenizer(folder);
  const { mode, reason } = plan.tokenizer;
  yield { kind: 'stage', stage: STAGE, message: `${SAID[mode]}: ${reason}` };
  if (mode !== 'train' && shipped === undefined) {
    throw new PipelineError(
      'NO_TOKENIZER',
      `The plan ${mode === 'keep' ? 'keeps' : 'fine-tunes'} the shipped tokenizer, which is not installed.`,
    );
  }
  if (mode === 'keep') {
    writeTokenizerFolder(folder, shipped!);
    return openTokenizer(folder);
  }
  const { config, recipe } = plan.tokenizer;
  const init = mode === 'fine-tune' ? { tensors: shipped!.state, where: 'the shipped tokenizer' } : undefined;
  yield* trainTokenizer({
    run: join(out, 'tokenizer-training'),
    out: folder,
    stage: STAGE,
    config,
    recipe,
    training: resolveTrainingConfig(plan.tokenizer.training, 'the plan of the tokenizer'),
    seed: plan.seed,
    train: images.train,
    heldOut: images.measured,
    identity: { data: plan.dataFingerprint },
    init,
    signal,
  });
  return openTokenizer(folder);
}

const SAID = {
  keep: 'keeping the shipped tokenizer',
  'fine-tune': 'fine-tuning the shipped tokenizer',
  train: 'training a tokenizer',
} as const;
