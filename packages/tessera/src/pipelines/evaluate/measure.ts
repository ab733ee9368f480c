/** The metrics of a protocol from stored features: which ones, over which images, and what must be said beside them. */

import { cat, fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import { bootstrapInterval } from '../../metrics/bootstrap.ts';
import { type FeatureStatistics, statisticsOf } from '../../metrics/feature-statistics.ts';
import { frechetDistance } from '../../metrics/frechet.ts';
import { inceptionScore } from '../../metrics/inception-score.ts';
import { kernelDistance } from '../../metrics/kid.ts';
import { manifoldMetrics } from '../../metrics/manifold.ts';
import type { EvaluationExtractor } from './extractor.ts';
import type { FeatureStore } from './feature-store.ts';
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
}

/** Wider features take too long to resample. */
const MOST_RESAMPLED_DIM = 256;
const RESAMPLES = 50;
/** Of generated images within a block. */
const LOGITS_AT_ONCE = 4096;

export interface MeasureInput {
  protocol: Protocol;
  extractor: EvaluationExtractor;
  samples: FeatureStore;
  reference: Reference;
  /** Features of the reference's pictures, where it has pictures. */
  referenceFeatures: FeatureStore | undefined;
  seed: number;
}

export function measure(input: MeasureInput): Measurement {
  return noGrad(() => scope(() => measureInScope(input)));
}

function measureInScope(input: MeasureInput): Measurement {
  const { protocol, extractor, samples, referenceFeatures, seed } = input;
  const metrics: Record<string, MetricValue> = {};
  const reference = referenceStatistics(input);
  const own = samples.statistics('pool', extractor.dim, protocol.statistics);
  const distance = frechetDistance(own, reference.pool);
  const pool = samples.pool();
  metrics[protocol.distance] = { value: distance };
  if (extractor.dim <= MOST_RESAMPLED_DIM) {
    const again = (rows: Int32Array): number =>
      scope(() => frechetDistance(statisticsOf(take(pool, rows)), reference.pool));
    const { low, high } = bootstrapInterval(distance, samples.count, again, { resamples: RESAMPLES, seed });
    metrics[protocol.distance] = { value: distance, low, high };
  }
  if (protocol.sfid) {
    const spatial = samples.statistics('spatial', extractor.spatialDim, protocol.statistics);
    metrics.sFID = { value: frechetDistance(spatial, reference.spatial!) };
  }
  if (protocol.inceptionScore !== undefined && extractor.inception !== undefined && samples.count >= 10) {
    const { inception } = extractor;
    const score = scope(() => inceptionScore(logitsOf(pool, inception), protocol.inceptionScore!));
    const note = `${protocol.inceptionScore}, ${score.splits} splits, deviation ${score.std.toFixed(3)}`;
    metrics['Inception Score'] = { value: score.mean, note };
  }
  if (referenceFeatures !== undefined) compareFeatures(input, pool, metrics);
  return { metrics, warnings: warningsOf(input, metrics) };
}

function compareFeatures(input: MeasureInput, pool: Tensor, metrics: Record<string, MetricValue>): void {
  const { protocol, referenceFeatures, seed } = input;
  const { kid, manifold } = protocol;
  const other = referenceFeatures!.pool();
  if (kid !== undefined) {
    const { mean, low, high, subsets, subsetSize } = kernelDistance(pool, other, { seed });
    metrics[kid] = { value: mean, low, high, note: `${subsets} subsets of ${subsetSize}` };
  }
  if (manifold === undefined || Math.min(pool.size(0), other.size(0)) < 4) return;
  const { most, precision } = manifold;
  const found = manifoldMetrics(spread(other, most), spread(pool, most), { k: 3, precision });
  const note = `k 3, ${precision}, ${Math.min(most, pool.size(0))} against ${Math.min(most, other.size(0))} images`;
  metrics.precision = { value: found.precision, note };
  metrics.recall = { value: found.recall, note };
  if (protocol.name === 'adm') return;
  metrics.density = { value: found.density, note };
  metrics.coverage = { value: found.coverage, note };
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
  { protocol, samples, extractor, referenceFeatures, reference }: MeasureInput,
  metrics: Record<string, MetricValue>,
): string[] {
  const { distance, numImages } = protocol;
  const warnings: string[] = [];
  const few = (count: number, whose: string): void => {
    if (count >= extractor.dim) return;
    warnings.push(
      `${distance} of ${count} ${whose} and ${extractor.dim} features: the covariance is singular and the distance too large by an unknown amount; compare it only with distances of as many images.`,
    );
  };
  few(samples.count, 'images');
  if (!reference.hasStatistics && referenceFeatures !== undefined) few(referenceFeatures.count, 'reference images');
  if (protocol.extractor === 'inception' && samples.count < numImages) {
    warnings.push(
      `${samples.count} images: the protocol ${protocol.name} takes ${numImages}, and with fewer the FID is larger; not comparable with published numbers.`,
    );
  }
  for (const [name, { value }] of Object.entries(metrics)) {
    if (!Number.isFinite(value)) warnings.push(`${name} is ${value}.`);
  }
  return warnings;
}

function logitsOf(pool: Tensor, inception: NonNullable<EvaluationExtractor['inception']>): Tensor {
  const parts: Tensor[] = [];
  for (let start = 0; start < pool.size(0); start += LOGITS_AT_ONCE) {
    const count = Math.min(LOGITS_AT_ONCE, pool.size(0) - start);
    parts.push(inception.logits(pool.narrow(0, start, count), { bias: false }));
  }
  return cat(parts, 0);
}

function take(x: Tensor, rows: Int32Array): Tensor {
  return x.indexSelect(0, fromTypedArray(rows).to('int64'));
}

/** At most `most` rows, evenly spread, since pictures often come sorted by class. */
function spread(x: Tensor, most: number): Tensor {
  const count = x.size(0);
  if (count <= most) return x;
  return take(
    x,
    Int32Array.from({ length: most }, (_, i) => Math.floor((i * count) / most)),
  );
}
