// The layouts of published reference files, made here with their names, types, shapes and compression.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concatBytes, encodeNpy, encodeNpz, type NpyArray, zipChunks } from '@tessera/formats';
import { memoryStats, scope } from '@tessera/torch';
import { afterAll, describe, expect, it } from 'vitest';
import { openNpzSet } from './image-set.ts';
import { readStatistics, writeStatistics } from './statistics-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'statistics-'));
afterAll(() => rmSync(folder, { recursive: true }));

const POOL = 2048;
const SPATIAL = 2023;

/** Mean i / D and covariance 2 on the diagonal, -1 above and below it. */
function gaussian(dim: number, dtype: 'float64' | 'float32'): [mean: NpyArray, covariance: NpyArray] {
  const create = (size: number) => (dtype === 'float64' ? new Float64Array(size) : new Float32Array(size));
  const [mean, covariance] = [create(dim), create(dim * dim)];
  for (let i = 0; i < dim; i++) {
    mean[i] = i / dim;
    covariance[i * dim + i] = 2;
    if (i > 0) covariance[i * dim + i - 1] = covariance[(i - 1) * dim + i] = -1;
  }
  return [
    { dtype, shape: [dim], data: mean },
    { dtype, shape: [dim, dim], data: covariance },
  ];
}

function expectGaussian(
  { mean, covariance }: NonNullable<ReturnType<typeof readStatistics>>['pool'],
  dim: number,
): void {
  expect(mean.shape).toEqual([dim]);
  expect(mean.dtype).toBe('float64');
  expect(mean.select(0, dim - 1).item()).toBeCloseTo((dim - 1) / dim, 6);
  expect(covariance.trace().item()).toBe(2 * dim);
  expect(covariance.sum().item()).toBe(2);
}

describe('statistics files', () => {
  it.each([
    [
      "AutoNAT's and ENAT's fid_stats_imagenet256_guided_diffusion.npz: mu and sigma, float64",
      POOL,
      'float64',
      'stored',
    ],
    ["pytorch-fid's, compressed", 256, 'float64', 'deflate'],
    ['the same in float32', POOL, 'float32', 'stored'],
  ] as const)('%s', (_, dim, dtype, method) => {
    const path = join(folder, `${dtype}-${method}.npz`);
    const [mu, sigma] = gaussian(dim, dtype);
    const entries = [
      { name: 'mu.npy', bytes: encodeNpy(mu) },
      { name: 'sigma.npy', bytes: encodeNpy(sigma) },
    ];
    writeFileSync(path, concatBytes(zipChunks(entries, { method })));
    const before = memoryStats().liveTensors;
    scope(() => {
      const found = readStatistics(path)!;
      expectGaussian(found.pool, dim);
      expect(found.spatial).toBeUndefined();
      expect(found.hasImages).toBe(false);
    });
    expect(memoryStats().liveTensors).toBe(before);
  });

  it("ADM's VIRTUAL files: pictures, and statistics of pool and spatial features", async () => {
    const path = join(folder, 'VIRTUAL_imagenet256_labeled.npz');
    const [mu, sigma] = gaussian(POOL, 'float64');
    const [muS, sigmaS] = gaussian(SPATIAL, 'float64');
    const pictures = Uint8Array.from({ length: 3 * 256 * 256 * 3 }, (_, i) => i % 251);
    const arrays: [string, NpyArray][] = [
      ['arr_0', { dtype: 'uint8', shape: [3, 256, 256, 3], data: pictures }],
      ['mu', mu],
      ['sigma', sigma],
      ['mu_s', muS],
      ['sigma_s', sigmaS],
    ];
    writeFileSync(path, encodeNpz(arrays));
    scope(() => {
      const found = readStatistics(path)!;
      expectGaussian(found.pool, POOL);
      expectGaussian(found.spatial!, SPATIAL);
      expect(found.hasImages).toBe(true);
    });
    const images = openNpzSet(path);
    const batch = await images.read(1, 2);
    expect([images.count, batch.shape]).toEqual([3, [2, 256, 256, 3]]);
    expect(batch.select(0, 1).flatten().select(0, 5).item()).toBe((2 * 256 * 256 * 3 + 5) % 251);
    batch.dispose();
    images.dispose();
  });

  it('what is written is read back in float64', () =>
    scope(() => {
      const path = join(folder, 'own.npz');
      const [mu, sigma] = gaussian(12, 'float32');
      writeFileSync(join(folder, 'small.npz'), encodeNpz([['mu', mu], ['sigma', sigma]])); // biome-ignore format: one row
      const { pool } = readStatistics(join(folder, 'small.npz'))!;
      writeStatistics(path, pool, pool);
      const again = readStatistics(path)!;
      expectGaussian(again.pool, 12);
      expect(again.spatial!.covariance.toNumbers()).toEqual(pool.covariance.toNumbers());
    }));
});
