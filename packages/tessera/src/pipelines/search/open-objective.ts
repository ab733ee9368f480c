/**
 * An objective from its description alone, so that any process can make the same one: model folder, terms, reference,
 * extractors. The reference is an image folder, a token data set (decoded: then the tokenizer's own losses cancel), or a
 * statistics file with `mu` and `sigma`.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { cat, fromTypedArray, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import { evenly } from '../../data/evenly.ts';
import { treeSizes } from '../../data/tokens/llamagen-tree.ts';
import { openTokens, requireTokens } from '../../data/tokens/open-tokens.ts';
import type { FeatureExtractor } from '../../metrics/feature-extractor.ts';
import { statisticsOf } from '../../metrics/feature-statistics.ts';
import { loadInception } from '../../metrics/inception.ts';
import { loadLocalExtractor } from '../../metrics/local-extractor.ts';
import { type Objective, weightedSum } from '../../search/objective.ts';
import { SearchError } from '../../search/search-error.ts';
import { openFolderSet } from '../evaluate/image-set.ts';
import { shippedFile } from '../fit/shipped-models.ts';
import { loadWeights } from '../load-weights.ts';
import { type ModelFolder, openModelFolder } from '../model-folder.ts';
import { likelihoodObjective } from './likelihood.ts';
import { type ExtractorName, extractorOf, termSchema } from './objective-terms.ts';
import { type Reference, sampleObjective } from './sample-objective.ts';

export const objectiveSchema = strictConfig({
  model: z.string(),
  terms: z.array(termSchema).min(1),
  /** Image folder, token data set or statistics file. */
  reference: z.string().optional(),
  /** At most so many of its images. */
  maxReference: z.int().min(2).optional(),
  /** Weights of the FID's Inception network. */
  inception: z.string().optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32),
  batch: z.int().min(1).optional(),
});

export type ObjectiveDescription = z.output<typeof objectiveSchema>;

export interface OpenObjective {
  objective: Objective;
  folder: ModelFolder;
  dispose(): void;
}

/** Blocks of noise of a seed: far more than a search has evaluations. */
const BLOCKS = 2 ** 20;
const DECODED_BATCH = 128;

export async function openObjective(given: ObjectiveDescription): Promise<OpenObjective> {
  const description = parseConfig(objectiveSchema, given, 'objective');
  const { terms, seed } = description;
  const folder = openModelFolder(description.model);
  const owned: { dispose(): void }[] = [folder];
  const dispose = (): void => {
    for (const one of owned) one.dispose();
  };
  try {
    const { model, tokenizer } = folder;
    const batch = description.batch ?? Math.min(64, Math.max(1, Math.floor(4096 / model.seqLen)));
    const seedOf = (block: number): number => seed * BLOCKS + block;
    const objectives = [];
    const drawn = terms.filter(({ kind }) => extractorOf(kind) !== undefined);
    if (drawn.length > 0) {
      const references = new Map<ExtractorName, Reference>();
      for (const name of new Set(drawn.map(({ kind }) => extractorOf(kind)!))) {
        references.set(name, await openReference(name, description, folder, owned));
      }
      const objective = sampleObjective({ model, tokenizer, terms: drawn, references, batch, seedOf });
      objectives.push({ objective, weight: 1 });
    }
    for (const { weight } of terms.filter(({ kind }) => kind === 'likelihood')) {
      if (model.generation !== 'masked') {
        throw new SearchError(
          'SEARCH_OBJECTIVE',
          `likelihood measures masked models; ${description.model} is not one.`,
        );
      }
      const data = openTokens(requireReference(description, 'likelihood', 'a token data set'));
      owned.push(data);
      requireTokens(data, { ...model.config }, description.reference!, 'the model');
      objectives.push({ objective: likelihoodObjective(model, data, { batch, seedOf }), weight });
    }
    const [only] = objectives;
    const objective = objectives.length === 1 && only!.weight === 1 ? only!.objective : weightedSum(objectives);
    return { objective, folder, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

function requireReference({ reference }: ObjectiveDescription, kind: string, what: string): string {
  if (reference === undefined) {
    throw new SearchError(
      'SEARCH_OBJECTIVE',
      `${kind} needs something to compare with: expected --reference, ${what}.`,
    );
  }
  if (!existsSync(reference)) {
    throw new SearchError('SEARCH_OBJECTIVE', `Expected ${what} at ${reference}, got nothing there.`);
  }
  return reference;
}

async function openReference(
  name: ExtractorName,
  description: ObjectiveDescription,
  folder: ModelFolder,
  owned: { dispose(): void }[],
): Promise<Reference> {
  const path = requireReference(description, name, 'an image folder, a token data set or a statistics file');
  const network = openExtractor(name, description, owned);
  const { extractor } = network;
  if (path.endsWith('.npz')) {
    return { ...network, statistics: own(readStatistics(path, extractor), owned), features: undefined };
  }
  const parts = holdsTokens(path)
    ? featuresOfTokens(path, extractor, folder, description.maxReference)
    : await featuresOfImages(path, extractor, folder.imageSize, {
        most: description.maxReference,
        // As the protocols of evaluation.
        alpha: name === 'inception' ? 'drop' : 'white',
      });
  const features = scope(() => keep(cat(parts)));
  for (const part of parts) part.dispose();
  owned.push(features);
  if (features.size(0) < 2) {
    throw new SearchError('SEARCH_OBJECTIVE', `Expected at least 2 images in ${path}, got ${features.size(0)}.`);
  }
  const statistics = noGrad(() => scope(() => statisticsOf(features)));
  return { ...network, statistics: own(statistics, owned), features };
}

/** Image folders may hold a dataset.json of their own. */
function holdsTokens(path: string): boolean {
  if (statSync(path).isFile()) return !path.endsWith('.tar');
  if (treeSizes(path).length > 0) return true;
  const description = join(path, 'dataset.json');
  return existsSync(description) && /"kind":\s*"tokens"/.test(readFileSync(description, 'utf8'));
}

function openExtractor(
  name: ExtractorName,
  { inception }: ObjectiveDescription,
  owned: { dispose(): void }[],
): { extractor: FeatureExtractor; logits?: (features: Tensor) => Tensor } {
  if (name === 'local') {
    const path = shippedFile('local-extractor/model.safetensors');
    if (path === undefined) {
      throw new SearchError('SEARCH_OBJECTIVE', 'The local extractor is not here: install @tessera/models-emoji.');
    }
    const extractor = scope(() => loadLocalExtractor(loadWeights(path), path));
    owned.push(extractor);
    return { extractor };
  }
  if (inception === undefined || !existsSync(inception)) {
    const got = inception === undefined ? 'none was given' : `there is nothing at ${inception}`;
    throw new SearchError(
      'SEARCH_OBJECTIVE',
      `fid, kid, is, precision and recall need the Inception weights (--inception pt_inception-2015-12-05-6726825d.pth); ${got}. fd-local needs no file.`,
    );
  }
  const network = scope(() => loadInception(loadWeights(inception), inception));
  owned.push(network);
  return {
    extractor: network.extractor('pytorch-fid'),
    logits: (features) => network.logits(features, { bias: false }),
  };
}

function readStatistics(path: string, { dim, name }: FeatureExtractor): Reference['statistics'] {
  return withFile(path, (reader) => {
    const npz = readNpz(reader);
    const [mean, covariance] = ['mu', 'sigma'].map((key) => npz.get(key));
    if (
      mean === undefined ||
      covariance === undefined ||
      mean.data.length !== dim ||
      covariance.data.length !== dim ** 2
    ) {
      throw new SearchError(
        'SEARCH_OBJECTIVE',
        `${path}: expected mu [${dim}] and sigma [${dim}, ${dim}], of ${name}.`,
      );
    }
    const wide = (data: ArrayLike<number | bigint>): Float64Array => Float64Array.from(Array.from(data, Number));
    return scope(() => ({
      count: undefined,
      mean: fromTypedArray(wide(mean.data), [dim]),
      covariance: fromTypedArray(wide(covariance.data), [dim, dim]),
    }));
  });
}

function featuresOfTokens(
  path: string,
  extractor: FeatureExtractor,
  { model, tokenizer }: ModelFolder,
  most = Number.POSITIVE_INFINITY,
): Tensor[] {
  const data = openTokens(path);
  try {
    requireTokens(data, { ...model.config }, path, 'the model');
    return batches(evenly(data.numRows, most)).map((rows) =>
      noGrad(() => scope(() => keep(extractor.features(tokenizer.decode(data.rows(rows, undefined).tokens))))),
    );
  } finally {
    data.dispose();
  }
}

async function featuresOfImages(
  path: string,
  extractor: FeatureExtractor,
  size: number,
  { most = Number.POSITIVE_INFINITY, alpha }: { most?: number | undefined; alpha: 'drop' | 'white' },
): Promise<Tensor[]> {
  const images = await openFolderSet(path, size, { alpha });
  try {
    const features: Tensor[] = [];
    for (const rows of batches(evenly(images.count, most))) {
      const pictures: Tensor[] = [];
      for (const row of rows) pictures.push(await images.read(row, 1));
      features.push(noGrad(() => scope(() => keep(extractor.features(cat(pictures))))));
      for (const picture of pictures) picture.dispose();
    }
    return features;
  } finally {
    images.dispose();
  }
}

function batches(rows: readonly number[]): number[][] {
  const count = Math.ceil(rows.length / DECODED_BATCH);
  return Array.from({ length: count }, (_, b) => rows.slice(b * DECODED_BATCH, (b + 1) * DECODED_BATCH));
}

function own(statistics: Reference['statistics'], owned: { dispose(): void }[]): Reference['statistics'] {
  owned.push(statistics.mean, statistics.covariance);
  return statistics;
}
