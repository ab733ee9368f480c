/** All images of a fit as tokens on disk, training and held-out apart. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { PictureSet } from '../../data/picture-set.ts';
import { TokenDataset, TokenDatasetWriter } from '../../data/token-dataset.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import type { PipelineEvent } from '../events.ts';
import { writeTokens } from '../write-tokens.ts';
import type { StageContext } from './tokenizer-stage.ts';

export interface FitTokens {
  train: TokenDataset;
  heldOut: TokenDataset | undefined;
}

export async function* tokensStage(
  { out, plan, images, signal }: StageContext,
  tokenizer: Tokenizer,
): AsyncGenerator<PipelineEvent, FitTokens> {
  const folders = { train: join(out, 'tokens', 'train'), heldOut: join(out, 'tokens', 'held-out') };
  const options = {
    gridSize: plan.generator.config.gridSize,
    codebookSize: tokenizer.codebookSize,
    classes: plan.classes,
  };
  if (!existsSync(folders.train)) {
    yield { kind: 'stage', stage: 'tokens', message: 'turning images into tokens' };
    if (images.heldOut.numImages > 0) yield* writeDataset(folders.heldOut, images.heldOut, tokenizer, options, signal);
    yield* writeDataset(folders.train, images.train, tokenizer, options, signal);
  }
  return {
    train: TokenDataset.open(folders.train),
    heldOut: images.heldOut.numImages > 0 ? TokenDataset.open(folders.heldOut) : undefined,
  };
}

async function* writeDataset(
  path: string,
  images: PictureSet,
  tokenizer: Tokenizer,
  options: { gridSize: number; codebookSize: number; classes: readonly string[] },
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent> {
  const writer = new TokenDatasetWriter(path, options);
  try {
    yield* writeTokens(writer, tokenizer, images, signal);
    writer.finish();
  } finally {
    writer.dispose();
  }
}
