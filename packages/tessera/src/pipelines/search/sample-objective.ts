/**
 * Objectives over generated images: draws them, takes their features once an extractor, and adds up the scores that were
 * asked for. Image i of a block has the same noise and class for every candidate (design rule 3).
 */

import { setImmediate } from 'node:timers/promises';
import { cat, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import type { FeatureExtractor } from '../../metrics/feature-extractor.ts';
import { type FeatureStatistics, statisticsOf } from '../../metrics/feature-statistics.ts';
import { frechetDistance } from '../../metrics/frechet.ts';
import { inceptionScore } from '../../metrics/inception-score.ts';
import { kernelDistance } from '../../metrics/kid.ts';
import { manifoldMetrics } from '../../metrics/manifold.ts';
import type { GeneratorModel } from '../../models/family.ts';
import type { Objective } from '../../search/objective.ts';
import { SearchError } from '../../search/search-error.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { forgetGraph } from '../masked-graph.ts';
import { openingsOf } from '../openings.ts';
import { generateLabelled } from '../start-generation.ts';
import { type ExtractorName, extractorOf, fewestImages, NEIGHBOURS, type ObjectiveTerm } from './objective-terms.ts';
import { spreadPlace } from './spread.ts';

/** Features of the reference images under an extractor, or only their statistics where a file holds no more. */
export interface Reference {
  extractor: FeatureExtractor;
  statistics: FeatureStatistics;
  /** [N, D]; undefined: statistics alone. */
  features: Tensor | undefined;
  /** Features to the logits of the Inception Score. */
  logits?: ((features: Tensor) => Tensor) | undefined;
}

export interface SampleObjectiveOptions {
  model: GeneratorModel;
  tokenizer: Tokenizer;
  terms: readonly ObjectiveTerm[];
  references: ReadonlyMap<ExtractorName, Reference>;
  /** Images at a time. */
  batch: number;
  /** Seed of a block of noise. */
  seedOf: (block: number) => number;
}

export function sampleObjective(options: SampleObjectiveOptions): Objective {
  const { model, tokenizer, terms, references, batch, seedOf } = options;
  for (const { kind } of terms) {
    const reference = references.get(extractorOf(kind)!)!;
    if (reference.features === undefined && kind !== 'fid' && kind !== 'fd-local' && kind !== 'is') {
      throw new SearchError('SEARCH_OBJECTIVE', `${kind} compares with images: the reference holds statistics alone.`);
    }
  }
  const classes = Array.from({ length: model.config.numClasses }, (_, label) => label);
  const openings = openingsOf(model, classes);
  if (openings !== undefined) model.companions.add(openings);
  return {
    weightsChanged: () => {
      openings?.dispose();
      forgetGraph(model);
    },
    evaluate: async (strategy, { numImages, seedBlock, signal }) => {
      const scarce = terms.find((term) => numImages < fewestImages([term]));
      if (scarce !== undefined) {
        throw new SearchError(
          'SEARCH_OBJECTIVE',
          `${scarce.kind} needs at least ${fewestImages([scarce])} images an evaluation, got ${numImages}.`,
        );
      }
      const parts = new Map<ExtractorName, Tensor[]>([...references.keys()].map((name) => [name, []]));
      try {
        for (let first = 0; first < numImages; first += batch) {
          signal?.throwIfAborted();
          const count = Math.min(batch, numImages - first);
          const labels = Array.from({ length: count }, (_, i) =>
            labelOfImage(first + i, { numImages, numClasses: classes.length, seedBlock }),
          );
          noGrad(() =>
            scope(() => {
              const seed = seedOf(seedBlock);
              const tokens = generateLabelled(model, { strategy, labels, seed, first, openings });
              const images = tokenizer.decode(tokens);
              for (const [name, { extractor }] of references) parts.get(name)!.push(keep(extractor.features(images)));
            }),
          );
          await setImmediate();
        }
        return { value: noGrad(() => scope(() => sum(terms, references, parts))) };
      } finally {
        for (const tensor of [...parts.values()].flat()) tensor.dispose();
      }
    },
  };
}

/**
 * Classes go round. Fewer images than classes are of classes evenly from first to last, which often lie one behind the other
 * by kind, and of others in another block.
 */
export function labelOfImage(
  image: number,
  { numImages, numClasses, seedBlock }: { numImages: number; numClasses: number; seedBlock: number },
): number {
  if (numImages >= numClasses) return image % numClasses;
  return spreadPlace(image, numImages, numClasses, seedBlock);
}

function sum(
  terms: readonly ObjectiveTerm[],
  references: ReadonlyMap<ExtractorName, Reference>,
  parts: ReadonlyMap<ExtractorName, Tensor[]>,
): number {
  const features = new Map([...parts].map(([name, list]) => [name, cat(list)]));
  return terms.reduce((total, { kind, weight }) => {
    const name = extractorOf(kind)!;
    return total + weight * score(kind, references.get(name)!, features.get(name)!);
  }, 0);
}

function score(kind: ObjectiveTerm['kind'], reference: Reference, features: Tensor): number {
  switch (kind) {
    case 'fid':
    case 'fd-local':
      return frechetDistance(statisticsOf(features), reference.statistics);
    case 'kid':
    case 'kid-local':
      return kernelDistance(features, reference.features!).mean;
    case 'is':
      return inceptionScore(reference.logits!(features), 'torch-fidelity').mean;
    case 'precision':
    case 'precision-local':
      return manifoldMetrics(reference.features!, features, { k: NEIGHBOURS, precision: 'float32' }).precision;
    case 'recall':
    case 'recall-local':
      return manifoldMetrics(reference.features!, features, { k: NEIGHBOURS, precision: 'float32' }).recall;
    case 'likelihood':
      throw new SearchError('SEARCH_OBJECTIVE', 'likelihood draws no images.');
    default:
      return kind satisfies never;
  }
}
