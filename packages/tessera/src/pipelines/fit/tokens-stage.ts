/** All images of a fit as tokens on disk, training and held-out apart. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { tensor } from '@tessera/torch';
import { TokenDataset, TokenDatasetWriter } from '../../data/token-dataset.ts';
import type { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import { encodePixels } from '../decode-tokens.ts';
import type { PipelineEvent } from '../events.ts';
import type { LabelledPixels } from './images.ts';
import type { StageContext } from './tokenizer-stage.ts';

const STAGE = 'tokens';

export interface FitTokens {
  train: TokenDataset;
  heldOut: TokenDataset | undefined;
}

export async function* tokensStage(
  { out, plan, images }: StageContext,
  tokenizer: LlamaGenVq,
): AsyncGenerator<PipelineEvent, FitTokens> {
  const folders = { train: join(out, 'tokens', 'train'), heldOut: join(out, 'tokens', 'held-out') };
  const options = {
    gridSize: plan.generator.config.gridSize,
    codebookSize: tokenizer.codebookSize,
    classes: plan.classes,
  };
  if (!existsSync(folders.train)) {
    yield { kind: 'stage', stage: STAGE, message: 'turning images into tokens' };
    if (images.heldOut.labels.length > 0) yield* writeTokens(folders.heldOut, images.heldOut, tokenizer, options);
    yield* writeTokens(folders.train, images.train, tokenizer, options);
  }
  return {
    train: TokenDataset.open(folders.train),
    heldOut: images.heldOut.labels.length > 0 ? TokenDataset.open(folders.heldOut) : undefined,
  };
}

async function* writeTokens(
  path: string,
  images: LabelledPixels,
  tokenizer: LlamaGenVq,
  options: { gridSize: number; codebookSize: number; classes: readonly string[] },
): AsyncGenerator<PipelineEvent> {
  const writer = new TokenDatasetWriter(path, options);
  const encoding = encodePixels(tokenizer, images);
  let next = encoding.next();
  while (!next.done) {
    yield { kind: 'progress', stage: STAGE, done: next.value, total: images.labels.length, unit: 'image' };
    await new Promise((resolve) => setImmediate(resolve));
    next = encoding.next();
  }
  const tokens = next.value;
  const labels = tensor(images.labels, 'int64');
  writer.addShard(tokens, labels);
  writer.finish();
  tokens.dispose();
  labels.dispose();
}
