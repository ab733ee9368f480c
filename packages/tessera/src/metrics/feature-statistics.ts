/**
 * Mean and covariance of feature vectors, added up batch by batch without keeping them (Chan, Golub and LeVeque 1979): the
 * scatter about the running mean, so that nothing cancels. Sums of several processes are merged the same way. The order of
 * merging changes the last bits: whoever wants equal bits merges the same blocks in the same order.
 *
 * The reference evaluators divide by N - 1. AutoNAT's and ENAT's add up in float32 (`autonat/fid` of the golden values);
 * everything else here uses float64.
 */

import { keep, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import { MetricError } from './metric-error.ts';

export interface FeatureStatistics {
  /** Number of vectors; undefined for files that do not say. */
  readonly count: number | undefined;
  /** [D] float64 */
  readonly mean: Tensor;
  /** [D, D] float64, divided by count - 1 */
  readonly covariance: Tensor;
}

export type StatisticsPrecision = 'float64' | 'float32';

/** Owns its tensors until `dispose`. */
export class RunningStatistics {
  readonly dim: number;
  readonly precision: StatisticsPrecision;
  private vectors = 0;
  private readonly mean: Tensor; // [D]
  private readonly scatter: Tensor; // [D, D], sum of (x - mean)(x - mean)ᵀ

  constructor(dim: number, precision: StatisticsPrecision = 'float64') {
    this.dim = dim;
    this.precision = precision;
    this.mean = scope(() => keep(zeros([dim], { dtype: precision })));
    this.scatter = scope(() => keep(zeros([dim, dim], { dtype: precision })));
  }

  get count(): number {
    return this.vectors;
  }

  /** features — [N, D], any float type. */
  add(features: Tensor): void {
    const [count, dim] = features.shape as [number, number];
    if (features.shape.length !== 2 || dim !== this.dim) {
      throw new MetricError(
        'METRIC_DIMENSION',
        `Expected features [N, ${this.dim}] as in the batches before, got [${features.shape.join(', ')}].`,
      );
    }
    if (count === 0) return;
    noGrad(() =>
      scope(() => {
        const x = features.to(this.precision);
        const mean = x.mean([0]);
        const centred = x.sub(mean);
        this.merge(count, mean, centred.t().mm(centred));
      }),
    );
  }

  /** Takes in what another one has seen, such as another process'. */
  addFrom(other: RunningStatistics): void {
    if (other.dim !== this.dim) {
      throw new MetricError('METRIC_DIMENSION', `Cannot merge statistics of ${other.dim} features into ${this.dim}.`);
    }
    if (other.count > 0) this.merge(other.count, other.mean, other.scatter);
  }

  /** The statistics so far, in float64; the caller's scope owns them. */
  result(): FeatureStatistics {
    if (this.vectors < 2) {
      throw new MetricError('METRIC_TOO_FEW', `A covariance needs at least 2 images, got ${this.vectors}.`);
    }
    const covariance = this.scatter.div(this.vectors - 1).to('float64');
    if (!covariance.isfinite().all().item()) {
      throw new MetricError('METRIC_NOT_FINITE', 'The features hold NaN or infinite values; check images and weights.');
    }
    return { count: this.vectors, mean: this.mean.to('float64').clone(), covariance };
  }

  dispose(): void {
    this.mean.dispose();
    this.scatter.dispose();
  }

  private merge(count: number, mean: Tensor, scatter: Tensor): void {
    noGrad(() =>
      scope(() => {
        const total = this.vectors + count;
        const step = mean.to(this.precision).sub(this.mean);
        this.scatter.add_(scatter.to(this.precision));
        this.scatter.add_(step.outer(step).mul((this.vectors * count) / total));
        this.mean.add_(step.mul(count / total));
        this.vectors = total;
      }),
    );
  }
}

/** Statistics of all rows of `features` — [N, D]; the caller's scope owns them. */
export function statisticsOf(features: Tensor, precision: StatisticsPrecision = 'float64'): FeatureStatistics {
  const running = new RunningStatistics(features.size(1), precision);
  try {
    for (let start = 0; start < features.size(0); start += BLOCK) {
      const rows = Math.min(BLOCK, features.size(0) - start);
      scope(() => running.add(features.narrow(0, start, rows)));
    }
    return running.result();
  } finally {
    running.dispose();
  }
}

/** Rows at a time: a float64 copy of 4096 × 2048 is 67 MB. */
const BLOCK = 4096;
