/** Encodes labelled pictures into a shard of a token data set, telling how far it is. */

import { tensor } from '@tessera/torch';
import type { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { encodePixels } from './decode-tokens.ts';
import type { PipelineEvent } from './events.ts';
import type { LabelledPixels } from './fit/images.ts';

export async function* writeTokens(
  writer: TokenDatasetWriter,
  tokenizer: Tokenizer,
  images: LabelledPixels,
  signal?: AbortSignal,
): AsyncGenerator<PipelineEvent> {
  const encoding = encodePixels(tokenizer, images);
  let next = encoding.next();
  for (; !next.done; next = encoding.next()) {
    yield { kind: 'progress', stage: 'tokens', done: next.value, total: images.labels.length, unit: 'image' };
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
  const labels = tensor(images.labels, 'int64');
  writer.addShard(next.value, labels);
  next.value.dispose();
  labels.dispose();
}
