/** `tessera tokenize`: a folder of images to a token data set. */

import { tensor } from '@tessera/torch';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import { tokenGrid } from '../tokenizers/vq-config.ts';
import { encodePixels } from './decode-tokens.ts';
import type { PipelineEvent } from './events.ts';
import { loadFitImages } from './fit/images.ts';
import { openAnyTokenizer } from './model-folder.ts';

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
    const [gridSize] = tokenGrid(tokenizer.config, size, size);
    const { classes, train, heldOut } = yield* loadFitImages(options.images, { size, seed: 0, signal: options.signal });
    yield { kind: 'stage', stage: 'tokens', message: `turning images into ${gridSize}×${gridSize} tokens each` };
    const writer = new TokenDatasetWriter(options.out, { gridSize, codebookSize: tokenizer.codebookSize, classes });
    const total = train.labels.length + heldOut.labels.length;
    let before = 0;
    for (const part of [train, heldOut]) {
      if (part.labels.length === 0) continue;
      const encoding = encodePixels(tokenizer, part);
      let next = encoding.next();
      for (; !next.done; next = encoding.next()) {
        yield { kind: 'progress', stage: 'tokens', done: before + next.value, total, unit: 'image' };
        await new Promise((resolve) => setImmediate(resolve));
        options.signal?.throwIfAborted();
      }
      const labels = tensor(part.labels, 'int64');
      writer.addShard(next.value, labels);
      next.value.dispose();
      labels.dispose();
      before += part.labels.length;
    }
    writer.finish();
    yield { kind: 'file', path: options.out, what: 'the token data set' };
    yield { kind: 'result', result: { out: options.out, rows: total, gridSize, codebookSize: tokenizer.codebookSize } };
  } finally {
    tokenizer.dispose();
  }
}
