/**
 * Confidence intervals by bootstrap (Efron 1979): the metric is taken again on images drawn with replacement, and the
 * spread of the results is its standard error. The interval is symmetric about the metric itself, because the mean of the
 * resampled ones is shifted: repeated images look like a less varied set. It covers the draw of these images alone, not
 * training.
 */

import { MetricError } from './metric-error.ts';
import { metricDraws } from './splits.ts';

export interface Interval {
  low: number;
  high: number;
  /** Standard deviation of the resampled metric. */
  standardError: number;
  /** Such as 0.95. */
  level: number;
  resamples: number;
}

/** Quantiles of the normal distribution by level. */
const QUANTILE: Record<number, number> = { 0.9: 1.6448536, 0.95: 1.959964, 0.99: 2.5758293 };

/** Rows of each resample: `count` of `count` images with repetitions, a function of the seed. */
export function bootstrapRows(count: number, resamples: number, seed: number): Int32Array[] {
  return Array.from({ length: resamples }, (_, i) => {
    const draws = metricDraws(seed, i);
    return Int32Array.from({ length: count }, () => draws.integer(count));
  });
}

/**
 * @param value the metric on all images
 * @param statistic the metric on some of the `count` images, by index with repetitions
 */
export function bootstrapInterval(
  value: number,
  count: number,
  statistic: (rows: Int32Array) => number,
  options: { resamples?: number; seed?: number; level?: number } = {},
): Interval {
  const { resamples = 100, seed = 0, level = 0.95 } = options;
  if (resamples < 2 || count < 2) {
    throw new MetricError(
      'METRIC_OPTIONS',
      `A bootstrap needs 2 resamples of 2 images or more; got ${resamples}, ${count}.`,
    );
  }
  return intervalAround(value, bootstrapRows(count, resamples, seed).map(statistic), level);
}

/** The interval of a metric from its resampled values. */
export function intervalAround(value: number, values: readonly number[], level = 0.95): Interval {
  const resamples = values.length;
  const mean = values.reduce((sum, x) => sum + x, 0) / resamples;
  const standardError = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (resamples - 1));
  return { ...intervalOf(value, standardError, level), resamples };
}

/** The same from a standard error that came about another way. */
export function intervalOf(value: number, standardError: number, level = 0.95): Omit<Interval, 'resamples'> {
  const quantile = QUANTILE[level];
  if (quantile === undefined) {
    throw new MetricError('METRIC_OPTIONS', `Expected a level of ${Object.keys(QUANTILE).join(', ')}, got ${level}.`);
  }
  const half = quantile * standardError;
  return { low: value - half, high: value + half, standardError, level };
}
