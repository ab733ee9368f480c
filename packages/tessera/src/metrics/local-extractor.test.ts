// The table of docs/evaluation.md in small: formula pictures of one set, made worse and worse, must lie further and further
// from another set. The whole table is validate-local-extractor.mjs of @tessera/models-emoji.

import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import {
  avgPool2d,
  cat,
  fromTypedArray,
  loadSafetensors,
  noGrad,
  scope,
  setNumThreads,
  type Tensor,
  tensor,
} from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statisticsOf } from './feature-statistics.ts';
import { frechetDistance } from './frechet.ts';
import { kernelDistance } from './kid.ts';
import { type LocalExtractor, loadLocalExtractor } from './local-extractor.ts';
import { metricDraws } from './splits.ts';

const root = dirname(createRequire(import.meta.url).resolve('@tessera/models-emoji/package.json'));
const weights = join(root, 'local-extractor/model.safetensors');
const SIDE = 32;
const COUNT = 240;
/** Classes: discs, squares, stripes and gradients. */
const CLASSES = 4;

let extractor: LocalExtractor;
let reference: Tensor;
let images: Tensor; // [COUNT, 3, SIDE, SIDE], the class of image i is i mod CLASSES

beforeAll(() => {
  setNumThreads(1);
  extractor = scope(() => loadLocalExtractor(loadSafetensors(weights).tensors, weights));
  images = pictures(2);
  reference = featuresOf(pictures(1));
});
afterAll(() => {
  for (const one of [extractor, reference, images]) one.dispose();
});

/** Shapes of random colours, places and sizes on random grounds. */
function pictures(seed: number): Tensor {
  const data = new Float32Array(COUNT * 3 * SIDE * SIDE);
  for (let i = 0; i < COUNT; i++) {
    const draws = metricDraws(seed, i);
    const [front, back] = [0, 1].map(() => [draws.uniform(), draws.uniform(), draws.uniform()]);
    const [cx, cy, radius, turn] = [draws.uniform() * SIDE, draws.uniform() * SIDE, 4 + 8 * draws.uniform(), Math.PI * draws.uniform()]; // biome-ignore format: one row
    for (let at = 0; at < SIDE * SIDE; at++) {
      const [x, y] = [at % SIDE, Math.floor(at / SIDE)];
      const along = x * Math.cos(turn) + y * Math.sin(turn);
      const share = [
        Math.hypot(x - cx, y - cy) < radius ? 1 : 0,
        Math.max(Math.abs(x - cx), Math.abs(y - cy)) < radius ? 1 : 0,
        Math.sin((along * 6) / radius) > 0 ? 1 : 0,
        Math.min(1, Math.max(0, along / SIDE)),
      ][i % CLASSES]!;
      for (let c = 0; c < 3; c++) data[(i * 3 + c) * SIDE * SIDE + at] = share * front![c]! + (1 - share) * back![c]!;
    }
  }
  return fromTypedArray(data, [COUNT, 3, SIDE, SIDE]);
}

function featuresOf(x: Tensor): Tensor {
  const parts = [0, 1, 2].map((part) => extractor.features(x.narrow(0, (part * COUNT) / 3, COUNT / 3)));
  return scope(() => cat(parts));
}

function distances(features: Tensor): { fd: number; kid: number } {
  return noGrad(() =>
    scope(() => ({
      fd: frechetDistance(statisticsOf(features), statisticsOf(reference)),
      kid: kernelDistance(features, reference, { subsets: 10, subsetSize: 120 }).mean,
    })),
  );
}

/** Of the images unchanged, then with each strength. */
function series<Strength>(strengths: readonly Strength[], make: (strength: Strength) => Tensor) {
  return noGrad(() =>
    scope(() => [distances(featuresOf(images)), ...strengths.map((strength) => distances(make(strength)))]),
  );
}

function expectGrowing(values: readonly number[]): void {
  for (const [i, value] of values.entries()) if (i > 0) expect(value, values.join(' ')).toBeGreaterThan(values[i - 1]!);
}

const rows = (chosen: readonly number[]): Tensor => tensor([...chosen], 'int64');
const all = Array.from({ length: COUNT }, (_, i) => i);

describe('the local extractor', () => {
  it('is small enough to be shipped', () => {
    expect(existsSync(weights)).toBe(true);
    expect(statSync(weights).size).toBeLessThan(10e6);
    expect(extractor.dim).toBe(192);
  });

  it('puts blurred images further away, the more the further', () => {
    const found = series([3, 5, 9], (width) => {
      const half = (width - 1) / 2;
      return featuresOf(avgPool2d(images, [width, width], [1, 1], [half, half], false, false));
    });
    expectGrowing(found.map(({ fd }) => fd));
    expectGrowing(found.map(({ kid }) => kid));
  });

  it('puts noisy images further away', () => {
    const draws = metricDraws(9, 0);
    const noise = Float32Array.from({ length: COUNT * 3 * SIDE * SIDE }, () => draws.uniform() - 0.5);
    const found = series([0.2, 0.5, 1], (strength) =>
      featuresOf(images.add(fromTypedArray(noise, images.shape).mul(strength)).clamp(0, 1)),
    );
    expectGrowing(found.map(({ fd }) => fd));
    expectGrowing(found.map(({ kid }) => kid));
  });

  it('notices dropped classes, images of another kind, and in FD fewer samples', () => {
    const own = noGrad(() => scope(() => featuresOf(images)));
    const dropped = series([3, 2, 1], (kept) => own.indexSelect(0, rows(all.filter((i) => i % CLASSES < kept))));
    expectGrowing(dropped.map(({ fd }) => fd));
    expectGrowing(dropped.map(({ kid }) => kid));
    // The other kind: the same pictures turned inside out, as nets of small tiles.
    const tiled = noGrad(() => scope(() => featuresOf(images.repeat([1, 1, 4, 4]).slice(2, 0, SIDE * 4, 4).slice(3, 0, SIDE * 4, 4)))); // biome-ignore format: one row
    const foreign = series([0.1, 0.3, 1], (share) =>
      cat([tiled.narrow(0, 0, share * COUNT), own.narrow(0, 0, COUNT - share * COUNT)]),
    );
    expectGrowing(foreign.map(({ fd }) => fd));
    expectGrowing(foreign.map(({ kid }) => kid));
    const fewer = series([160, 80, 40], (count) => own.narrow(0, 0, count));
    expectGrowing(fewer.map(({ fd }) => fd));
    own.dispose();
    tiled.dispose();
  });
});
