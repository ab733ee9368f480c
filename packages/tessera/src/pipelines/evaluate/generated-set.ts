/**
 * Pictures that a model draws when they are asked for. Image i of a seed is the same whatever is asked for before, so
 * blocks may be drawn by any process and in any order.
 */

import type { SamplingSettings } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { labelOf } from '../evaluation-images.ts';
import { openingsOf } from '../openings.ts';
import { generateLabelled } from '../start-generation.ts';
import { fingerprintOfTokenizer } from '../tokenize/work-plan.ts';
import { hashOfFile, type ImageSet, type MeasuredImages, sha256 } from './image-set.ts';
import type { OpenedModel } from './open-model.ts';
import type { Protocol } from './protocols.ts';
import { decodedAtOnce, toBytes } from './reconstructed-set.ts';

/** Bytes of pictures that are kept beside their features, so that a report need not draw them again. */
const MOST_KEPT = 2 ** 28;

/** The model stays the caller's. */
export async function generatedSet(
  { model, tokenizer, path, classes, weights }: OpenedModel,
  strategy: SamplingSettings,
  options: { numImages: number; seed: number; protocol: Protocol; signal?: AbortSignal | undefined },
): Promise<ImageSet> {
  const { numImages, seed, protocol, signal } = options;
  const { numClasses, gridSize } = model.config;
  const labels = classLabels(protocol.classes, numImages, numClasses, seed);
  const hash = await hashOfFile(weights);
  const size = gridSize * tokenizer.downsampleFactor;
  const { family, config } = model; // heads and the split of depths, which weights do not tell
  const { classes: rule, rounding } = protocol;
  const what = { strategy, seed, classes: rule, numImages, weights: hash, family, config, size, rounding };
  const openings = openingsOf(model, labels);
  const readMeasured = async (first: number, count: number): Promise<MeasuredImages> => {
    signal?.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
    return noGrad(() =>
      scope(() => {
        const some = labels.slice(first, first + count);
        const tokens = generateLabelled(model, { strategy, labels: some, seed, first, openings });
        // Whatever the network's device, sets give pictures on the CPU.
        const decoded = tokenizer.decode(tokens).clamp(0, 1).to('cpu');
        const bytes = toBytes(decoded);
        const images = protocol.rounding === 'float' ? decoded : bytes;
        const columns = numImages * size ** 2 * 3 <= MOST_KEPT ? { pictures: keep(bytes.clone()) } : {};
        return { images: keep(images), columns: columns as Record<string, Tensor> };
      }),
    );
  };
  return {
    kind: 'model',
    path,
    count: numImages,
    fingerprint: sha256(`${JSON.stringify(what)} ${fingerprintOfTokenizer(tokenizer)}`),
    labels,
    classes: classes ?? Array.from({ length: numClasses }, (_, label) => `class ${label}`),
    size,
    batch: decodedAtOnce(size ** 2),
    readMeasured,
    async read(first, count) {
      const { images, columns } = await readMeasured(first, count);
      columns.pictures?.dispose();
      return images;
    },
    dispose: () => openings?.dispose(),
  };
}

/**
 * Uniform: draws, as `tessera sample --weights` with a tokenizer makes them (from a model folder it goes round the classes).
 * Balanced: N / classes of each, class 0 first, what is left over is class 0 (ENAT). Even: the same without the rest, image i
 * of class ⌊i · classes / N⌋, so that few images are of as many classes as there can be.
 */
export function classLabels(rule: Protocol['classes'], numImages: number, numClasses: number, seed: number): number[] {
  const perClass = Math.floor(numImages / numClasses);
  return Array.from({ length: numImages }, (_, i) => {
    if (rule === 'uniform') return labelOf(seed, i, numClasses);
    if (rule === 'even') return Math.floor((i * numClasses) / numImages);
    const label = perClass === 0 ? 0 : Math.floor(i / perClass);
    return label < numClasses ? label : 0;
  });
}
