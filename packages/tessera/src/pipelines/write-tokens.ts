/** Encodes labelled pictures in memory into a token data set, telling how far it is. */

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
    yield { kind: 'progress', stage: 'tokens', done: next.value, total: images.labels.length, unit: 'images' };
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
  const tokens = next.value.toNumbers();
  const length = tokens.length / Math.max(1, images.labels.length);
  for (const [i, label] of images.labels.entries()) writer.add(label, tokens.slice(i * length, (i + 1) * length));
  next.value.dispose();
}
