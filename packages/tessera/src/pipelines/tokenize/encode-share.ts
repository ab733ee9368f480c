/**
 * The loop that turns images into tokens: workers decode and crop ahead (image-pool.ts), this thread encodes a batch after
 * the other and appends its records.
 */
import { noGrad, scope } from '@tessera/torch';
import type { ImageItem } from '../../data/image-folder.ts';
import type { ImagePool, PreparedImage } from '../../data/image-pool.ts';
import { variantsPerImage } from '../../data/variants.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { imageBatch } from '../decode-tokens.ts';
import type { PipelineEvent } from '../events.ts';
import { stopped } from '../training-events.ts';
import type { ImageRecord, PartLayout, PartWriter } from './part-file.ts';
import type { WorkPlan } from './work-plan.ts';

export interface EncodeOptions {
  plan: WorkPlan;
  layout: PartLayout;
  writer: PartWriter;
  items: readonly ImageItem[];
  pool: ImagePool;
  tokenizer: Tokenizer;
  signal: AbortSignal | undefined;
}

/** Decoded pixels that may wait for the encoder. */
const WAITING_BYTES = 256 << 20;

/** Does what is left of a share. */
export async function* encodeShare(options: EncodeOptions): AsyncGenerator<PipelineEvent> {
  const { plan, layout, writer, items, pool, tokenizer, signal } = options;
  const { batchImages, recipe } = plan;
  const start = layout.first + writer.done;
  const imageBytes = recipe.size ** 2 * 3 * variantsPerImage(recipe);
  // Two batches: while one is encoded, this thread hands out no work.
  const ahead = Math.max(2 * batchImages, Math.min(64, Math.floor(WAITING_BYTES / imageBytes)));
  const places = items.slice(start, layout.end);
  const prepared = pool.prepare(places, { ahead, signal });
  const began = Date.now();
  let broken = 0;
  for (let at = start; at < layout.end; at += batchImages) {
    const batch = items.slice(at, Math.min(at + batchImages, layout.end));
    const images: PreparedImage[] = [];
    for (let i = 0; i < batch.length; i++) {
      if (signal?.aborted === true) throw stopped();
      const next = await prepared.next();
      images.push(next.value as PreparedImage);
    }
    const records = encodeBatch(tokenizer, images, plan);
    writer.append(
      records,
      batch.map(({ relativePath }) => relativePath),
    );
    broken += records.filter((record) => 'reason' in record).length;
    const done = at + batch.length - layout.first;
    const total = layout.end - layout.first;
    const rate = (at + batch.length - start) / Math.max(1e-3, (Date.now() - began) / 1000);
    yield {
      kind: 'progress',
      stage: 'tokens',
      done,
      total,
      unit: 'images',
      rate,
      secondsLeft: (total - done) / rate,
      ...(broken > 0 ? { detail: `${broken} broken` } : {}),
    };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** One batch; broken images take no place in it. */
export function encodeBatch(tokenizer: Tokenizer, images: readonly PreparedImage[], plan: WorkPlan): ImageRecord[] {
  const { recipe, gridSize } = plan;
  const good = images.flatMap((image) => ('pixels' in image ? [image.pixels] : []));
  const length = variantsPerImage(recipe) * gridSize ** 2;
  const tokens = good.length === 0 ? new Int32Array(0) : encodePictures(tokenizer, joined(good), recipe.size);
  let at = 0;
  return images.map((image) => {
    if ('reason' in image) return image;
    at += length;
    return { tokens: tokens.subarray(at - length, at) };
  });
}

/** pixels — [N, size, size, 3] uint8; returns [N · L]. */
export function encodePictures(tokenizer: Tokenizer, pixels: Uint8Array, size: number): Int32Array {
  const count = pixels.length / (size * size * 3);
  return noGrad(() =>
    scope(() => {
      const images = imageBatch({ pixels, size }, 0, count);
      return tokenizer.encode(images).to('int32').toTypedArray() as Int32Array;
    }),
  );
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
