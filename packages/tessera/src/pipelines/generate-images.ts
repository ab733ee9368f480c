/**
 * Generates many images in batches: tokens batch by batch with their labels and indices. The noise of an image follows
 * from the seed and its index alone, so the batch decides speed and memory, not the images (design rules 3 and 6).
 */

import type { SamplingSettings } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import type { GeneratorModel } from '../models/family.ts';
import type { PipelineEvent } from './events.ts';
import { startGeneration } from './start-generation.ts';

export interface GenerateOptions {
  strategy: SamplingSettings;
  /** Class label of each image. */
  labels: readonly number[];
  seed: number;
  /** Images at a time; default: by the number of tokens. */
  batch?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A finished batch; tensors are the observer's to copy, not to keep. */
export interface GeneratedBatch {
  /** Index of its first image. */
  first: number;
  labels: readonly number[];
  /** [B, L] int64. */
  tokens: Tensor;
  /** The batch after each step. */
  steps: readonly StepTokens[];
}

export interface StepTokens {
  /** All tokens as sampled by this step, [B, L] int64. */
  sampled: Tensor;
  /** 1 where the step's input was masked: [B][L]. */
  maskedBefore: Uint8Array[];
}

/**
 * @param onBatch called with each batch, in order
 * @param keepSteps how many images' steps are wanted; they are the first ones
 */
export async function* generateImages(
  model: GeneratorModel,
  options: GenerateOptions,
  onBatch: (batch: GeneratedBatch) => void | Promise<void>,
  keepSteps = 0,
): AsyncGenerator<PipelineEvent> {
  const { labels, strategy, seed, signal } = options;
  const batch = options.batch ?? defaultBatch(model.seqLen);
  for (let first = 0; first < labels.length; first += batch) {
    const batchLabels = labels.slice(first, first + batch);
    const masks: Uint8Array[][] = [];
    const wantSteps = first < keepSteps;
    const onStep = wantSteps ? (unknown: Uint8Array[]) => masks.push(unknown) : undefined;
    const generation = startGeneration(model, { strategy, labels: batchLabels, seed, first, onStep });
    const sampled: Tensor[] = [];
    try {
      if (first === 0 && generation.cacheBytes !== undefined)
        yield cacheNote(generation.cacheBytes, batchLabels.length);
      while (!generation.isDone) {
        signal?.throwIfAborted();
        sampled.push(generation.step());
        if (!wantSteps && sampled.length > 1) sampled.shift()!.dispose();
        const share = generation.isDone ? 1 : generation.stepsDone / generation.numSteps;
        const done = first + Math.floor(batchLabels.length * share);
        if (!generation.isDone) yield progress(done, labels.length);
      }
      const steps = wantSteps ? sampled.map((tokens, i) => ({ sampled: tokens, maskedBefore: masks[i]! })) : [];
      await onBatch({ first, labels: batchLabels, tokens: sampled.at(-1)!, steps });
    } finally {
      for (const tensor of sampled) tensor.dispose();
      generation.dispose();
    }
    yield progress(first + batchLabels.length, labels.length);
  }
}

function cacheNote(bytes: number, images: number): PipelineEvent {
  const size = `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const count = images === 1 ? 'one image' : `${images} images at a time`;
  return { kind: 'note', message: `The cache of keys and values takes ${size} for ${count}.` };
}

function progress(done: number, total: number): PipelineEvent {
  return { kind: 'progress', stage: 'sample', done, total, unit: 'images' };
}

/** Small pictures many at a time, large ones few. */
function defaultBatch(seqLen: number): number {
  return Math.min(64, Math.max(1, Math.floor(4096 / seqLen)));
}
