/**
 * Does a generator copy its training images? Each generated image has a distance to its nearest training image, and so has
 * each image that was never trained on. Where generated ones are nearer than those, some are copies (the comparison of
 * Meehan et al. 2020, without their cells). Distances are between features, so what the extractor does not see does not count.
 *
 * Where there is no image that was not trained on, training images are compared with the others: a weaker check, since sets
 * with near-duplicates in them hide copies.
 */

import { fromTypedArray, scope, type Tensor } from '@tessera/torch';
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
  /** Of images that a copy is told by. */
  unseen: NearestDistances;
  /** What these are. */
  unseenAre: 'held-out' | 'training';
  /** Probability that a generated image is nearer to the training than an unseen one: 0.5 for alike sets, 1 for copies. */
  nearer: number;
  /** Share of the generated images that are nearer than all but 5 % of the unseen ones; 0.05 for alike sets. */
  suspicious: number;
  /** The generated images, nearest first: index, index of the training image, distance. */
  nearest: { sample: number; training: number; distance: number }[];
}

/** Images that are looked at of each side: 2000 among 50,000 of 2048 features are 2 · 10¹¹ multiplications. */
const MOST = 2000;

/** samples, training, unseen — [N, D], [M, D], [H, D] features of one extractor; of many, evenly chosen ones are taken. */
export function memorisation(samples: Tensor, training: Tensor, unseen?: Tensor): Memorisation {
  if (samples.size(0) === 0 || training.size(0) < 2 || unseen?.size(0) === 0) {
    throw new MetricError(
      'METRIC_TOO_FEW',
      `The check for memorised images needs samples, two training images and a held-out one; got ${samples.size(0)}, ${training.size(0)}, ${unseen?.size(0) ?? 'none'}.`,
    );
  }
  const chosen = evenly(samples.size(0));
  const own = scope(() => nearestNeighbours(rowsOf(samples, chosen), training));
  const theirs = scope(() => {
    const rows = evenly((unseen ?? training).size(0));
    return unseen === undefined
      ? nearestNeighbours(rowsOf(training, rows), training, rows)
      : nearestNeighbours(rowsOf(unseen, rows), training);
  });
  const distances = own.distances.map(Math.sqrt);
  const baseline = theirs.distances.map(Math.sqrt).sort((a, b) => a - b);
  const summary = summaryOf(baseline);
  const nearest = distances.map((distance, i) => ({ sample: chosen[i]!, training: own.indices[i]!, distance }));
  nearest.sort((a, b) => a.distance - b.distance || a.sample - b.sample);
  return {
    generated: summaryOf(nearest.map(({ distance }) => distance)),
    unseen: summary,
    unseenAre: unseen === undefined ? 'training' : 'held-out',
    nearer: distances.reduce((sum, d) => sum + shareAbove(baseline, d), 0) / distances.length,
    suspicious: distances.filter((d) => d < summary.p5).length / distances.length,
    nearest,
  };
}

function evenly(count: number): number[] {
  const most = Math.min(count, MOST);
  return Array.from({ length: most }, (_, i) => Math.floor((i * count) / most));
}

function rowsOf(x: Tensor, rows: readonly number[]): Tensor {
  return rows.length === x.size(0) ? x : x.indexSelect(0, fromTypedArray(Int32Array.from(rows)).to('int64'));
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
