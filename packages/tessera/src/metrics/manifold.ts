/**
 * Fidelity and diversity by nearest neighbours in feature space: precision and recall (Kynkäänniemi et al. 2019), density
 * and coverage (Naeem et al. 2020). A ball stands around each image, as large as the distance to its k-th neighbour of the
 * same set.
 *
 *   precision  share of samples inside some ball of the reference      recall    share of references inside some ball of the samples
 *   density    balls of the reference a sample lies in, over k, mean   coverage  share of reference balls that hold a sample
 *
 * The ADM evaluator computes squared distances in float16, blocks that overflow in float32: the numbers that papers print.
 * `float16` here rounds where it rounds; `float64` is exact. Distances are made a block at a time.
 */

import { arange, cat, fromTypedArray, noGrad, scope, type Tensor, where } from '@tessera/torch';
import { MetricError } from './metric-error.ts';

export type DistancePrecision = 'float16' | 'float32' | 'float64';

export interface ManifoldMetrics {
  precision: number;
  recall: number;
  density: number;
  coverage: number;
}

export interface ResampledManifoldMetrics extends ManifoldMetrics {
  /** The metrics of each draw. The balls stay those of all samples: repeated images would have balls of no size. */
  resampled: ManifoldMetrics[];
}

/** Rows and columns of a block of distances: 4000 × 4000 in float64 is 128 MB. */
const BLOCK = 4000;

/** Squared distances of rows — [N, D] to columns — [M, D]: [N, M] float32 or float64. */
export function squaredDistances(rows: Tensor, columns: Tensor, precision: DistancePrecision): Tensor {
  return noGrad(() =>
    scope(() => {
      if (precision === 'float16') {
        const half = halfDistances(rows, columns);
        return half.isfinite().all().item() ? half : squaredDistances(rows, columns, 'float32');
      }
      const [u, v] = [rows.to(precision), columns.to(precision)];
      const norms = u
        .square()
        .sum([1], true)
        .add(v.square().sum([1]));
      return norms.sub(u.mm(v.t()).mul(2)).clamp(0);
    }),
  );
}

/** Each number rounded to float16, sums in float32 between: what half-precision units do. */
function halfDistances(rows: Tensor, columns: Tensor): Tensor {
  const round = (x: Tensor): Tensor => x.to('float16').to('float32');
  const [u, v] = [round(rows.to('float32')), round(columns.to('float32'))];
  const norm = (x: Tensor): Tensor => round(round(x.square()).sum([1]));
  const cross = round(round(u.mm(v.t())).mul(2));
  return round(round(norm(u).unsqueeze(1).sub(cross)).add(norm(v))).clamp(0);
}

/** Squared distance of each row to its k-th neighbour, itself left out: [N]. */
export function manifoldRadii(features: Tensor, k: number, precision: DistancePrecision): Tensor {
  const count = features.size(0);
  if (!Number.isInteger(k) || k < 1 || count <= k) {
    throw new MetricError('METRIC_TOO_FEW', `Balls of ${k} neighbours need ${k + 1} images or more, got ${count}.`);
  }
  return noGrad(() =>
    scope(() => {
      const blocks = ranges(count).map(([first, rows]) =>
        scope(() => {
          const some = features.narrow(0, first, rows);
          // The k + 1 nearest of each block of columns hold the k + 1 nearest of all; the row itself is one of them.
          const nearest = ranges(count).map(([start, length]) =>
            scope(() => {
              const distances = squaredDistances(some, features.narrow(0, start, length), precision);
              return distances.topk(Math.min(k + 1, length), 1, false)[0];
            }),
          );
          return cat(nearest, 1)
            .topk(k + 1, 1, false)[0]
            .select(1, k);
        }),
      );
      return cat(blocks, 0);
    }),
  );
}

/**
 * All four from reference — [M, D] and samples — [N, D].
 *
 * @param options.draws rows of the samples with repetitions: the metrics of these as well, for intervals
 */
export function manifoldMetrics(
  reference: Tensor,
  samples: Tensor,
  options: { k?: number; precision?: DistancePrecision; draws?: readonly Int32Array[] } = {},
): ResampledManifoldMetrics {
  const { k = 3, precision = 'float64', draws = [] } = options;
  if (reference.size(1) !== samples.size(1)) {
    throw new MetricError(
      'METRIC_DIMENSION',
      `Cannot compare ${samples.size(1)} features with a reference of ${reference.size(1)}.`,
    );
  }
  return noGrad(() =>
    scope(() => {
      const ofReference = manifoldRadii(reference, k, precision);
      const ofSamples = manifoldRadii(samples, k, precision);
      const [numReference, numSamples] = [reference.size(0), samples.size(0)];
      // How often each draw takes each sample; the first column is all samples, once each: [N, 1 + draws].
      const taken = drawCounts(numSamples, draws);
      const numDraws = 1 + draws.length;
      const sums = { precise: noCounts(numDraws), balls: noCounts(numDraws), recalled: noCounts(numDraws), covered: noCounts(numDraws) }; // biome-ignore format: one row
      // Two sweeps, so that a row's answer is whole when it is counted.
      for (const [first, rows] of ranges(numSamples)) {
        scope(() => {
          const some = samples.narrow(0, first, rows);
          const balls = ballsAround(some, reference, precision, 'columns', ofReference);
          const mine = taken.narrow(0, first, rows);
          addTo(sums.precise, balls.gt(0).to('float64').unsqueeze(0).mm(mine));
          addTo(sums.balls, balls.to('float64').unsqueeze(0).mm(mine));
        });
      }
      for (const [first, rows] of ranges(numReference)) {
        scope(() => {
          const some = reference.narrow(0, first, rows);
          const own = ofReference.narrow(0, first, rows);
          addTo(sums.recalled, hitsBy(some, samples, precision, 'columns', ofSamples, taken).gt(0).sum([0]));
          addTo(sums.covered, hitsBy(some, samples, precision, 'rows', own, taken).gt(0).sum([0]));
        });
      }
      const all = Array.from({ length: numDraws }, (_, i) => ({
        precision: sums.precise[i]! / numSamples,
        recall: sums.recalled[i]! / numReference,
        density: sums.balls[i]! / (k * numSamples),
        coverage: sums.covered[i]! / numReference,
      }));
      return { ...all[0]!, resampled: all.slice(1) };
    }),
  );
}

function drawCounts(count: number, draws: readonly Int32Array[]): Tensor {
  const width = 1 + draws.length;
  const counts = new Float64Array(count * width);
  for (let row = 0; row < count; row++) counts[row * width] = 1;
  for (const [i, rows] of draws.entries()) for (const row of rows) counts[row * width + 1 + i]! += 1;
  return fromTypedArray(counts, [count, width]);
}

function noCounts(length: number): number[] {
  return new Array<number>(length).fill(0);
}

function addTo(sums: number[], counts: Tensor): void {
  for (const [i, count] of counts.flatten().toNumbers().entries()) sums[i]! += count;
}

/** For each row: how many columns are at most a radius away, the radius being the column's or the row's own: [rows]. */
function ballsAround(
  rows: Tensor,
  columns: Tensor,
  precision: DistancePrecision,
  radiusOf: 'rows' | 'columns',
  radii: Tensor,
): Tensor {
  const parts = ranges(columns.size(0)).map((range) =>
    scope(() => within(rows, columns, range, precision, radiusOf, radii).sum([1])),
  );
  return parts.reduce((sum, part) => sum.add(part));
}

/** The same counted once for each draw of the columns, as often as it takes a column: [rows, draws]. */
function hitsBy(
  rows: Tensor,
  columns: Tensor,
  precision: DistancePrecision,
  radiusOf: 'rows' | 'columns',
  radii: Tensor,
  taken: Tensor,
): Tensor {
  const parts = ranges(columns.size(0)).map((range) =>
    scope(() => {
      const [start, length] = range;
      const inside = within(rows, columns, range, precision, radiusOf, radii).to('float32');
      return inside.mm(taken.narrow(0, start, length).to('float32'));
    }),
  );
  return parts.reduce((sum, part) => sum.add(part));
}

function within(
  rows: Tensor,
  columns: Tensor,
  [start, length]: readonly [number, number],
  precision: DistancePrecision,
  radiusOf: 'rows' | 'columns',
  radii: Tensor,
): Tensor {
  const distances = squaredDistances(rows, columns.narrow(0, start, length), precision);
  return distances.le(radiusOf === 'rows' ? radii.unsqueeze(1) : radii.narrow(0, start, length));
}

/**
 * For each row — [N, D] the index of its nearest neighbour among columns — [M, D], and the squared distance.
 *
 * @param without for each row a column that does not count, such as the row itself
 */
export function nearestNeighbours(
  rows: Tensor,
  columns: Tensor,
  without?: readonly number[],
): { indices: number[]; distances: number[] } {
  return noGrad(() =>
    scope(() => {
      let best: { distance: Tensor; index: Tensor } | undefined;
      const left = without === undefined ? undefined : fromTypedArray(Int32Array.from(without), [without.length, 1]);
      for (const [start, length] of ranges(columns.size(0))) {
        let distances = squaredDistances(rows, columns.narrow(0, start, length), 'float64');
        if (left !== undefined) {
          const own = arange(start, start + length, 1, { dtype: 'int32' }).eq(left);
          distances = distances.maskedFill(own, Number.POSITIVE_INFINITY);
        }
        const [distance, local] = distances.minDim(1);
        const index = local.add(start);
        if (best === undefined) best = { distance, index };
        else {
          const closer = distance.lt(best.distance);
          best = { distance: where(closer, distance, best.distance), index: where(closer, index, best.index) };
        }
      }
      if (best === undefined)
        throw new MetricError('METRIC_TOO_FEW', 'Nearest neighbours need an image to look among.');
      return { indices: best.index.toNumbers(), distances: best.distance.toNumbers() };
    }),
  );
}

function ranges(count: number): (readonly [first: number, length: number])[] {
  return Array.from(
    { length: Math.ceil(count / BLOCK) },
    (_, i) => [i * BLOCK, Math.min(BLOCK, count - i * BLOCK)] as const,
  );
}
