/**
 * The metrics of a protocol from stored features: which ones, over which images, with what intervals, and what must be said
 * beside them. Intervals are at 95 % and cover the draw of the images alone.
 */

import { cat, fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import { bootstrapInterval, bootstrapRows, intervalAround, intervalOf } from '../../metrics/bootstrap.ts';
import { CodebookCounter } from '../../metrics/codebook-usage.ts';
import type { FeatureStatistics } from '../../metrics/feature-statistics.ts';
import { frechetDistance } from '../../metrics/frechet.ts';
import { frechetDistanceOfRows, resamplesWithin } from '../../metrics/frechet-resampling.ts';
import { inceptionScore, inceptionScoreOfRows } from '../../metrics/inception-score.ts';
import { kernelDistance } from '../../metrics/kid.ts';
import { type ManifoldMetrics, manifoldMetrics } from '../../metrics/manifold.ts';
import { type Memorisation, memorisation } from '../../metrics/memorisation.ts';
import type { EvaluationExtractor } from './extractor.ts';
import type { FeatureStore } from './feature-store.ts';
import type { ImageSet } from './image-set.ts';
import { type Judgement, judgeSamples, type OpenJudge } from './judge.ts';
import type { Protocol } from './protocols.ts';
import type { Reference } from './reference.ts';
import { readStatistics } from './statistics-file.ts';

export interface MetricValue {
  value: number;
  /** 95 % interval. */
  low?: number;
  high?: number;
  /** How the number came about, where the protocol leaves it open. */
  note?: string;
}

export interface Measurement {
  /** By name, in the order in which people look at them. */
  metrics: Record<string, MetricValue>;
  warnings: string[];
  judge?: Judgement;
  memorisation?: Memorisation;
}

const LOGITS_AT_ONCE = 4096;
/** torch-fidelity's ten splits need an image each. */
const FEWEST_SCORED = 10;
/** A ball of three neighbours and the image in its middle. */
const FEWEST_IN_BALLS = 4;
/** Resamples of what costs little. */
const RESAMPLES = 50;
/** Decibels of an error of a quarter of a level, which equal pictures count as. */
const MOST_PSNR = 10 * Math.log10(255 ** 2 * 16);

export interface MeasureInput {
  protocol: Protocol;
  extractor: EvaluationExtractor;
  /** What is measured. */
  images: ImageSet;
  samples: FeatureStore;
  reference: Reference;
  /** Features of the reference's pictures, where it has pictures. */
  referenceFeatures: FeatureStore | undefined;
  /** Features of pictures that were not trained on. */
  heldOut: FeatureStore | undefined;
  judge: OpenJudge | undefined;
  /** Of a reconstruction: of the tokenizer. */
  codebookSize: number | undefined;
  seed: number;
  /** Of each interval; 0: none. Default: as many as are affordable. */
  resamples?: number | undefined;
}

export function measure(input: MeasureInput): Measurement {
  return noGrad(() => scope(() => measureInScope(input)));
}

function measureInScope(input: MeasureInput): Measurement {
  const { protocol, extractor, images, samples, referenceFeatures, judge } = input;
  const isReconstruction = images.kind === 'reconstruction';
  // Distances to the originals, or to any pictures, are not those of generated ones: their names begin with r.
  const name = (metric: string): string => (isReconstruction ? `r${metric}` : metric);
  const metrics: Record<string, MetricValue> = {};
  const warnings: string[] = [];
  const reference = referenceStatistics(input);
  const own = samples.statistics('pool', extractor.dim, protocol.statistics);
  const pool = samples.pool();
  metrics[name(protocol.distance)] = frechet(input, () => pool, own, reference.pool);
  if (protocol.sfid) {
    const spatial = samples.statistics('spatial', extractor.spatialDim, protocol.statistics);
    metrics[name('sFID')] = frechet(input, () => samples.column('spatial'), spatial, reference.spatial!);
  }
  if (protocol.inceptionScore !== undefined) Object.assign(metrics, scoreOf(input, pool, warnings));
  if (referenceFeatures !== undefined) compareFeatures(input, pool, metrics, name, warnings);
  if (isReconstruction) Object.assign(metrics, reconstructionMetrics(input));
  const result: Measurement = { metrics, warnings };
  if (judge !== undefined) {
    result.judge = judgeSamples(judge, pool, images);
    const { accuracy, quality } = result.judge;
    const note = `linear classifier on ${extractor.name}, right for ${percent(quality.heldOutAccuracy)} of ${quality.numHeldOut} held-out reference images`;
    const error = Math.sqrt((accuracy * (1 - accuracy)) / samples.count);
    metrics['judge accuracy'] = { value: accuracy, ...clipped(intervalOf(accuracy, error)), note };
  }
  if (referenceFeatures !== undefined && !isReconstruction && referenceFeatures.count > 1) {
    result.memorisation = memorisation(pool, referenceFeatures.pool(), input.heldOut?.pool());
  }
  warnings.push(...warningsOf(input, metrics, name(protocol.distance)));
  return result;
}

/** @param rows gives the features [N, D] of which `own` are the statistics, where an interval is wanted */
function frechet(
  input: MeasureInput,
  rows: () => Tensor,
  own: FeatureStatistics,
  reference: FeatureStatistics,
): MetricValue {
  const { samples, seed } = input;
  const dim = own.mean.size(0);
  const value = frechetDistance(own, reference);
  // A number of few images must not be quoted without it.
  const note = samples.count < dim ? { note: `of ${samples.count} images: too large` } : {};
  const resamples = input.resamples ?? resamplesWithin(samples.count, dim);
  if (resamples === 0) return { value, ...note };
  const { low, high } = scope(() => {
    const again = frechetDistanceOfRows(rows(), reference);
    return bootstrapInterval(value, samples.count, again, { resamples, seed });
  });
  return { value, low, high, ...note };
}

function scoreOf(
  { protocol, extractor, samples, seed, resamples = RESAMPLES }: MeasureInput,
  pool: Tensor,
  warnings: string[],
): Record<string, MetricValue> {
  const convention = protocol.inceptionScore!;
  const { inception } = extractor;
  if (inception === undefined) return {};
  if (convention === 'torch-fidelity' && samples.count < FEWEST_SCORED) {
    warnings.push(
      `${samples.count} images are too few for torch-fidelity's ${FEWEST_SCORED} splits: there is no Inception Score in this result.`,
    );
    return {};
  }
  return scope(() => {
    const logits = logitsOf(pool, inception);
    const score = inceptionScore(logits, convention);
    const note = `${convention}, ${score.splits} splits, deviation ${score.std.toFixed(3)}`;
    if (resamples === 0) return { 'Inception Score': { value: score.mean, note } };
    const again = inceptionScoreOfRows(logits, convention);
    const { low, high } = bootstrapInterval(score.mean, samples.count, again, { resamples, seed });
    return { 'Inception Score': { value: score.mean, low, high, note } };
  });
}

function compareFeatures(
  input: MeasureInput,
  pool: Tensor,
  metrics: Record<string, MetricValue>,
  name: (metric: string) => string,
  warnings: string[],
): void {
  const { protocol, referenceFeatures, seed, resamples = RESAMPLES } = input;
  const { kid, manifold } = protocol;
  const other = referenceFeatures!.pool();
  if (kid !== undefined) {
    const { mean, low, high, subsets, subsetSize } = kernelDistance(pool, other, { seed });
    const interval = low === undefined || high === undefined ? {} : { low, high };
    metrics[name(kid)] = { value: mean, ...interval, note: `${subsets} subsets of ${subsetSize}` };
  }
  if (manifold === undefined) return;
  const fewest = Math.min(pool.size(0), other.size(0));
  if (fewest < FEWEST_IN_BALLS) {
    warnings.push(`${fewest} images have no third neighbour: there is no precision and no recall in this result.`);
    return;
  }
  const { most, precision } = manifold;
  const [mine, theirs] = [spread(pool, most), spread(other, most)];
  const draws = bootstrapRows(mine.size(0), resamples, seed);
  const { resampled, ...found } = manifoldMetrics(theirs, mine, { k: 3, precision, draws });
  const note = `k 3, ${precision}, ${mine.size(0)} against ${theirs.size(0)} images`;
  const add = (metric: keyof ManifoldMetrics): void => {
    const value = found[metric];
    const values = resampled.map((one) => one[metric]);
    const interval = values.length < 2 ? {} : clipped(intervalAround(value, values), metric === 'density');
    metrics[metric] = { value, ...interval, note };
  };
  add('precision');
  add('recall');
  if (protocol.name === 'adm') return;
  add('density');
  add('coverage');
}

/** How a tokenizer gives the pictures back, one by one, and how many of its codes they need. */
function reconstructionMetrics({ samples, codebookSize }: MeasureInput): Record<string, MetricValue> {
  const psnrs = samples.column('psnr').toNumbers();
  const equal = psnrs.filter((value) => value > MOST_PSNR).length;
  const counter = new CodebookCounter(codebookSize!);
  counter.add(samples.column('tokens').flatten().toNumbers());
  const { used, share, perplexity } = counter.result();
  const counted = equal === 0 ? 'dB' : `dB; ${equal} equal pictures count as ${MOST_PSNR.toFixed(1)}`;
  return {
    PSNR: { ...meanOf(psnrs.map((value) => Math.min(value, MOST_PSNR))), note: counted },
    SSIM: meanOf(samples.column('ssim').toNumbers()),
    'codebook usage': { value: share, note: `${used} of ${codebookSize} codes` },
    'codebook perplexity': { value: perplexity, note: `${codebookSize} if all codes were equally frequent` },
  };
}

function meanOf(values: readonly number[]): MetricValue {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  if (values.length < 2) return { value: mean };
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1);
  const { low, high } = intervalOf(mean, Math.sqrt(variance / values.length));
  return { value: mean, low, high };
}

function referenceStatistics(input: MeasureInput): { pool: FeatureStatistics; spatial: FeatureStatistics | undefined } {
  const { reference, referenceFeatures, protocol, extractor } = input;
  if (reference.hasStatistics) {
    const { pool, spatial } = readStatistics(reference.path)!;
    return { pool, spatial };
  }
  const store = referenceFeatures!;
  return {
    pool: store.statistics('pool', extractor.dim, protocol.statistics),
    spatial: protocol.sfid ? store.statistics('spatial', extractor.spatialDim, protocol.statistics) : undefined,
  };
}

/** What makes the numbers mean less than they seem to. */
function warningsOf(
  { protocol, samples, images, extractor, referenceFeatures, reference }: MeasureInput,
  metrics: Record<string, MetricValue>,
  distance: string,
): string[] {
  const { numImages } = protocol;
  const warnings: string[] = [];
  const few = (count: number, whose: string): void => {
    if (count >= extractor.dim) return;
    warnings.push(
      `${distance} of ${count} ${whose} and ${extractor.dim} features: the covariance is singular and the distance too large by an unknown amount; compare it only with distances of as many images.`,
    );
  };
  few(samples.count, 'images');
  if (!reference.hasStatistics && referenceFeatures !== undefined) few(referenceFeatures.count, 'reference images');
  if (protocol.extractor === 'inception' && samples.count < numImages && images.kind !== 'reconstruction') {
    warnings.push(
      `${samples.count} images: the protocol ${protocol.name} takes ${numImages}, and with fewer the FID is larger; not comparable with published numbers.`,
    );
  }
  if (protocol.inceptionScore === 'adm' && isSorted(images.labels)) {
    warnings.push(
      'The images are sorted by class: the Inception Score is taken over runs of 5000 of them and comes out too low.',
    );
  }
  for (const [name, { value }] of Object.entries(metrics)) {
    if (!Number.isFinite(value)) warnings.push(`${name} is ${value}.`);
  }
  return warnings;
}

function isSorted(labels: readonly number[] | undefined): boolean {
  return (
    labels !== undefined &&
    labels.at(-1) !== labels[0] &&
    labels.every((label, i) => i === 0 || label >= labels[i - 1]!)
  );
}

function logitsOf(pool: Tensor, inception: NonNullable<EvaluationExtractor['inception']>): Tensor {
  const parts: Tensor[] = [];
  for (let start = 0; start < pool.size(0); start += LOGITS_AT_ONCE) {
    const count = Math.min(LOGITS_AT_ONCE, pool.size(0) - start);
    parts.push(inception.logits(pool.narrow(0, start, count), { bias: false }));
  }
  return cat(parts, 0);
}

/** At most `most` rows, evenly spread, since pictures often come sorted by class. */
function spread(x: Tensor, most: number): Tensor {
  const count = x.size(0);
  if (count <= most) return x;
  const rows = Int32Array.from({ length: most }, (_, i) => Math.floor((i * count) / most));
  return x.indexSelect(0, fromTypedArray(rows).to('int64'));
}

/** Shares lie in [0, 1]; a density has no upper end. */
function clipped({ low, high }: { low: number; high: number }, endless = false): { low: number; high: number } {
  return { low: Math.max(0, low), high: endless ? high : Math.min(1, high) };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
