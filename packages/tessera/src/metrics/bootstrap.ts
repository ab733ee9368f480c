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
  const quantile = QUANTILE[level];
  if (quantile === undefined || resamples < 2 || count < 2) {
    throw new MetricError(
      'METRIC_OPTIONS',
      `Expected a level of ${Object.keys(QUANTILE).join(', ')}, 2 resamples and 2 images or more; got ${level}, ${resamples}, ${count}.`,
    );
  }
  const values = Array.from({ length: resamples }, (_, i) => {
    const draws = metricDraws(seed, i);
    return statistic(Int32Array.from({ length: count }, () => draws.integer(count)));
  });
  const mean = values.reduce((sum, x) => sum + x, 0) / resamples;
  const standardError = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (resamples - 1));
  const half = quantile * standardError;
  return { low: value - half, high: value + half, standardError, level, resamples };
}
