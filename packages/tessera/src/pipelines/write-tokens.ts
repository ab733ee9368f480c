/** Encodes the pictures of a set into a token data set, telling how far it is. */

import { noGrad, scope } from '@tessera/torch';
import type { PictureSet } from '../data/picture-set.ts';
import type { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { imageBatch } from './decode-tokens.ts';
import type { PipelineEvent } from './events.ts';

/** Pictures at a time. */
const BATCH = 128;

export async function* writeTokens(
  writer: TokenDatasetWriter,
  tokenizer: Tokenizer,
  images: PictureSet,
  signal?: AbortSignal,
): AsyncGenerator<PipelineEvent> {
  let done = 0;
  for await (const block of images.blocks(BATCH)) {
    signal?.throwIfAborted();
    const { labels } = block;
    const tokens = noGrad(() => scope(() => tokenizer.encode(imageBatch(block, 0, labels.length)).toNumbers()));
    const length = tokens.length / labels.length;
    for (const [i, label] of labels.entries()) writer.add(label, tokens.slice(i * length, (i + 1) * length));
    done += labels.length;
    yield { kind: 'progress', stage: 'tokens', done, total: images.numImages, unit: 'images' };
    await new Promise((resolve) => setImmediate(resolve));
  }
}
