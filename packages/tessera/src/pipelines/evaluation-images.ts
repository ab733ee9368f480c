/**
 * Tokens of chosen images of a long run, whatever the model's kind: any of them, in any order and batch. Labels are drawn
 * uniformly, one an image, and like the noise belong to (seed, image), so that processes can share a run and a killed one
 * goes on (design rule 3).
 */

import { isAutoregressive, NoisePurpose, noiseBits, type SamplingSettings, uniformFromBits } from '@tessera/schedule';
import { tensor } from '@tessera/torch';
import type { AutoregressiveModel, GeneratorModel, MaskedModel } from '../models/family.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { forgetGraph } from './masked-graph.ts';
import { openingsOf } from './openings.ts';
import { startGeneration } from './start-generation.ts';
import type { TokenGeneration } from './token-generation.ts';

export interface DrawOptions {
  settings: SamplingSettings;
  seed: number;
  /** By index in the run. */
  images: readonly number[];
  labelOf: (image: number) => number;
  /** Images at a time. */
  batch: number;
  signal: AbortSignal | undefined;
}

export interface DrawnImage {
  image: number;
  /** [L]. */
  tokens: number[];
}

/** The label of an image: uniform, a function of the seed and the image. */
export function labelOf(seed: number, imageIndex: number, numClasses: number): number {
  const address = { seed, imageIndex, step: 0, position: 0, code: 0, purpose: NoisePurpose.LABEL };
  return Math.floor(uniformFromBits(noiseBits(address)) * numClasses);
}

/** Images as they are finished, some at a time. */
export async function* drawImages(model: GeneratorModel, options: DrawOptions): AsyncGenerator<DrawnImage[]> {
  if (options.images.length === 0) return;
  if (model.generation === 'masked') yield* drawBatches(model, options);
  else yield* drawQueue(model, options);
}

async function* drawBatches(
  model: MaskedModel,
  { settings, seed, images, labelOf, batch, signal }: DrawOptions,
): AsyncGenerator<DrawnImage[]> {
  if (isAutoregressive(settings)) throw new TypeError('drawImages: a masked model takes a strategy');
  const openings = openingsOf(model, images.map(labelOf));
  try {
    for (let start = 0; start < images.length; start += batch) {
      const some = images.slice(start, start + batch);
      const labels = some.map(labelOf);
      const how = { strategy: settings, labels, seed, first: some[0]!, images: some, openings };
      const numbers = await drawBatch(startGeneration(model, how), signal);
      yield some.map((image, i) => ({ image, tokens: numbers.slice(i * model.seqLen, (i + 1) * model.seqLen) }));
    }
  } finally {
    openings?.dispose();
  }
}

/** All tokens of a batch, image after image. */
async function drawBatch(generation: TokenGeneration, signal: AbortSignal | undefined): Promise<number[]> {
  try {
    let numbers: number[] = [];
    while (!generation.isDone) {
      signal?.throwIfAborted();
      const tokens = generation.step();
      if (generation.isDone) numbers = tokens.flatten().toNumbers();
      tokens.dispose();
      await turn();
    }
    return numbers;
  } finally {
    generation.dispose();
  }
}

/** A slot whose image is finished takes the next one. */
async function* drawQueue(
  model: AutoregressiveModel,
  { settings, seed, images, labelOf, batch, signal }: DrawOptions,
): AsyncGenerator<DrawnImage[]> {
  if (!isAutoregressive(settings)) throw new TypeError('drawImages: expected autoregressive settings');
  const generation = new AutoregressiveGeneration(model, {
    settings,
    noise: philoxTokenNoise(seed),
    images,
    condition: (some, guided) => model.conditionOn(tensor(some.map(labelOf), 'int64'), guided),
    slots: batch,
  });
  try {
    while (!generation.isDone) {
      signal?.throwIfAborted();
      const finished = generation.step().map(({ image, tokens }) => {
        const numbers = tokens.toNumbers();
        tokens.dispose();
        return { image, tokens: numbers };
      });
      if (finished.length > 0) yield finished;
      await turn();
    }
  } finally {
    generation.dispose();
    forgetGraph(model);
  }
}

/** Lets the event loop turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
