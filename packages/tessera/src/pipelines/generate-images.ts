/**
 * Generates many images in batches: tokens batch by batch with their labels and indices. The noise of an image follows
 * from the seed and its index alone, so the batch decides speed and memory, not the images (design rules 3 and 6).
 */

import type { SamplingSettings } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import type { GeneratorModel } from '../models/family.ts';
import type { PipelineEvent } from './events.ts';
import { forgetGraph } from './masked-graph.ts';
import { openingsOf } from './openings.ts';
import { startGeneration } from './start-generation.ts';

export interface GenerateOptions {
  strategy: SamplingSettings;
  /** Class label of each image. */
  labels: readonly number[];
  /** Which of them: from the first index up to the second. Default: all. */
  range?: readonly [from: number, to: number] | undefined;
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
  const batch = options.batch ?? defaultBatch(model);
  const [from, to] = options.range ?? [0, labels.length];
  const openings = openingsOf(model, labels);
  try {
    for (let first = from; first < to; first += batch) {
      const batchLabels = labels.slice(first, Math.min(first + batch, to));
      const masks: Uint8Array[][] = [];
      const wantSteps = first < keepSteps;
      const onStep = wantSteps ? (unknown: Uint8Array[]) => masks.push(unknown) : undefined;
      const generation = startGeneration(model, { strategy, labels: batchLabels, seed, first, onStep, openings });
      const sampled: Tensor[] = [];
      try {
        const { cacheBytes } = generation;
        if (first === from && cacheBytes !== undefined) yield cacheNote(cacheBytes, batchLabels.length);
        while (!generation.isDone) {
          signal?.throwIfAborted();
          sampled.push(generation.step());
          if (!wantSteps && sampled.length > 1) sampled.shift()!.dispose();
          const share = generation.isDone ? 1 : generation.stepsDone / generation.numSteps;
          const done = first - from + Math.floor(batchLabels.length * share);
          if (!generation.isDone) yield progress(done, to - from);
        }
        const steps = wantSteps ? sampled.map((tokens, i) => ({ sampled: tokens, maskedBefore: masks[i]! })) : [];
        await onBatch({ first, labels: batchLabels, tokens: sampled.at(-1)!, steps });
      } finally {
        for (const tensor of sampled) tensor.dispose();
        generation.dispose();
      }
      yield progress(first - from + batchLabels.length, to - from);
    }
  } finally {
    openings?.dispose();
    forgetGraph(model);
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
function defaultBatch({ seqLen, device }: GeneratorModel): number {
  const tokens = device === 'cpu' ? 4096 : 16384;
  return Math.min(64, Math.max(1, Math.floor(tokens / seqLen)));
}
