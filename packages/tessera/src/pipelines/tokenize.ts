/** `tessera tokenize`: a folder of images to a token data set. */

import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { PipelineEvent } from './events.ts';
import { loadFitImages } from './fit/images.ts';
import { openAnyTokenizer } from './model-folder.ts';
import { writeTokens } from './write-tokens.ts';

export interface TokenizeOptions {
  images: string;
  /** Token data set to write. */
  out: string;
  /** A model folder or a tokenizer folder. */
  tokenizer: string;
  /** Pixels of a side; default: those of the model. */
  size?: number | undefined;
  signal?: AbortSignal | undefined;
}

export async function* tokenize(options: TokenizeOptions): AsyncGenerator<PipelineEvent> {
  const { tokenizer, imageSize } = openAnyTokenizer(options.tokenizer);
  try {
    const size = options.size ?? imageSize ?? 256;
    const [gridSize] = tokenizer.grid(size, size);
    const { classes, train, heldOut } = yield* loadFitImages(options.images, { size, seed: 0, signal: options.signal });
    yield { kind: 'stage', stage: 'tokens', message: `turning images into ${gridSize}×${gridSize} tokens each` };
    const writer = new TokenDatasetWriter(options.out, { gridSize, codebookSize: tokenizer.codebookSize, classes });
    for (const part of [train, heldOut]) {
      if (part.labels.length > 0) yield* writeTokens(writer, tokenizer, part, options.signal);
    }
    writer.finish();
    yield { kind: 'file', path: options.out, what: 'the token data set' };
    yield {
      kind: 'result',
      result: {
        out: options.out,
        rows: train.labels.length + heldOut.labels.length,
        gridSize,
        codebookSize: tokenizer.codebookSize,
      },
    };
  } finally {
    tokenizer.dispose();
  }
}
