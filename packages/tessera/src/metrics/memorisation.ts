/**
 * Does a generator copy its training images? Each generated image has a distance to its nearest training image, and so has
 * each image that was never trained on. Where generated ones are nearer than those, some are copies (the comparison of
 * Meehan et al. 2020, without their cells). Distances are between features, so what the extractor does not see does not count.
 */

import { scope, type Tensor } from '@tessera/torch';
import { nearestNeighbours } from './manifold.ts';
import { MetricError } from './metric-error.ts';

export interface NearestDistances {
  /** Number of images. */
  count: number;
  /** Quantiles of the distances to the nearest training image. */
  least: number;
  p5: number;
  median: number;
}

export interface Memorisation {
  generated: NearestDistances;
  /** Of images that were not trained on. */
  unseen: NearestDistances;
  /** Probability that a generated image is nearer to the training than an unseen one: 0.5 for alike sets, 1 for copies. */
  nearer: number;
  /** Share of the generated images that are nearer than all but 5 % of the unseen ones; 0.05 for alike sets. */
  suspicious: number;
  /** The generated images, nearest first: index, index of the training image, distance. */
  nearest: { sample: number; training: number; distance: number }[];
}

/** samples, unseen, training — [N, D], [H, D], [M, D] features of one extractor. */
export function memorisation(samples: Tensor, unseen: Tensor, training: Tensor): Memorisation {
  if (samples.size(0) === 0 || unseen.size(0) === 0) {
    throw new MetricError(
      'METRIC_TOO_FEW',
      'The check for memorised images needs samples and images never trained on.',
    );
  }
  const own = scope(() => nearestNeighbours(samples, training));
  const theirs = scope(() => nearestNeighbours(unseen, training));
  const distances = own.distances.map(Math.sqrt);
  const baseline = theirs.distances.map(Math.sqrt).sort((a, b) => a - b);
  const summary = summaryOf(baseline);
  const nearest = distances.map((distance, sample) => ({ sample, training: own.indices[sample]!, distance }));
  nearest.sort((a, b) => a.distance - b.distance || a.sample - b.sample);
  return {
    generated: summaryOf(nearest.map(({ distance }) => distance)),
    unseen: summary,
    nearer: distances.reduce((sum, d) => sum + shareAbove(baseline, d), 0) / distances.length,
    suspicious: distances.filter((d) => d < summary.p5).length / distances.length,
    nearest,
  };
}

function summaryOf(sorted: readonly number[]): NearestDistances {
  const quantile = (q: number): number => sorted[Math.floor(q * (sorted.length - 1))]!;
  return { count: sorted.length, least: sorted[0]!, p5: quantile(0.05), median: quantile(0.5) };
}

/** Share of the sorted numbers above x; equal ones count half. */
function shareAbove(sorted: readonly number[], x: number): number {
  const first = (holds: (value: number) => boolean): number => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(sorted[middle]!)) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  const [atLeast, above] = [first((value) => value >= x), first((value) => value > x)];
  return (sorted.length - above + (above - atLeast) / 2) / sorted.length;
}
