/**
 * Reference statistics as the evaluators exchange them: an npz with `mu` [D] and `sigma` [D, D], of AutoNAT, ENAT and
 * pytorch-fid alike; ADM's VIRTUAL files also have `mu_s`, `sigma_s` of the spatial features and 10,000 pictures as `arr_0`.
 * Read as hostile: shapes and types are looked at before anything is read.
 */

import { encodeNpz, type NpyArray, type NpzArchive, readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { fromTypedArray, type Tensor } from '@tessera/torch';
import { replaceWhole } from '../../data/whole-folder.ts';
import type { FeatureStatistics } from '../../metrics/feature-statistics.ts';
import { PipelineError } from '../events.ts';

export interface StatisticsFile {
  pool: FeatureStatistics;
  spatial: FeatureStatistics | undefined;
  /** Whether it has pictures as well. */
  hasImages: boolean;
}

/** More than any extractor gives. */
const MOST_FEATURES = 8192;

/** undefined for archives without `mu`; the caller's scope owns the tensors. */
export function readStatistics(path: string): StatisticsFile | undefined {
  return withFile(path, (reader) => {
    const archive = readNpz(reader);
    if (!archive.has('mu') && !archive.has('sigma')) return undefined;
    const pool = readPair(archive, 'mu', 'sigma', path);
    const hasSpatial = archive.has('mu_s') || archive.has('sigma_s');
    const spatial = hasSpatial ? readPair(archive, 'mu_s', 'sigma_s', path) : undefined;
    return { pool, spatial, hasImages: archive.has('arr_0') };
  });
}

/** Written whole, in float64. */
export function writeStatistics(path: string, pool: FeatureStatistics, spatial?: FeatureStatistics): void {
  const arrays = [...pair(pool, 'mu', 'sigma'), ...(spatial === undefined ? [] : pair(spatial, 'mu_s', 'sigma_s'))];
  replaceWhole(path, encodeNpz(arrays));
}

function pair({ mean, covariance }: FeatureStatistics, mu: string, sigma: string): [string, NpyArray][] {
  const array = (x: Tensor): NpyArray => {
    const values = x.to('float64').toTypedArray() as Float64Array;
    return { dtype: 'float64', shape: x.shape, data: values };
  };
  return [
    [mu, array(mean)],
    [sigma, array(covariance)],
  ];
}

function readPair(archive: NpzArchive, mu: string, sigma: string, path: string): FeatureStatistics {
  const [mean, covariance] = [archive.header(mu), archive.header(sigma)];
  const dim = mean?.shape[0] ?? 0;
  const fits = mean?.shape.length === 1 && covariance?.shape.length === 2 && covariance.shape.every((s) => s === dim);
  const numbers = [mean, covariance].every((header) => header?.dtype === 'float64' || header?.dtype === 'float32');
  if (!fits || !numbers || dim < 1 || dim > MOST_FEATURES) {
    const show = (header: typeof mean): string =>
      header === undefined ? 'nothing' : `${header.dtype} [${header.shape.join(', ')}]`;
    throw new PipelineError(
      'STATISTICS',
      `${path}: expected ${mu} [D] and ${sigma} [D, D] of numbers, D at most ${MOST_FEATURES}; got ${show(mean)} and ${show(covariance)}.`,
    );
  }
  const tensorOf = (name: string): Tensor => {
    const { data, shape } = archive.get(name)!;
    return fromTypedArray(data as Float64Array | Float32Array, shape).to('float64');
  };
  const result = { count: undefined, mean: tensorOf(mu), covariance: tensorOf(sigma) };
  if (!result.mean.isfinite().all().item() || !result.covariance.isfinite().all().item()) {
    throw new PipelineError('STATISTICS', `${path}: ${mu} or ${sigma} holds NaN or infinite values.`);
  }
  return result;
}
