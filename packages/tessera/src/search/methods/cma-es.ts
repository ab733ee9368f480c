/**
 * CMA-ES: a normal distribution that moves to, and stretches along, what was better (Hansen, "The CMA Evolution
 * Strategy: A Tutorial", arXiv 1604.00772; equation numbers below are its own). Only the order of values counts, so it
 * is steady under noise that is the same for all candidates. Written here because no kept npm package has it.
 *
 * Points are in units of the space's scale, so the first standard deviation is `sigma` of these. A draw outside the box
 * is moved to its edge and taken from there. The weights of bad points are 0 (the tutorial's plain form).
 */

import { DrawPurpose, Draws } from '@tessera/schedule';
import { symmetricEigen } from '../linear-algebra.ts';
import { type Candidate, type Method, pointAt, type Space, stepsTo } from '../method.ts';

export interface CmaOptions {
  seed: number;
  /** Candidates of a generation; default 4 + ⌊3 ln n⌋. */
  population?: number | undefined;
  /** First standard deviation, in units of the scale. Default 1. */
  sigma?: number | undefined;
}

/**
 * The first batch holds the start beside the first generation, which does not use its value. What the bounds hold still is no
 * dimension of the distribution.
 */
export function* cmaEs(whole: Space, options: CmaOptions): Method {
  const free = whole.start.flatMap((_, i) => (whole.lower[i]! < whole.upper[i]! ? [i] : []));
  const of = (values: readonly number[]): number[] => free.map((i) => values[i]!);
  const space = { start: of(whole.start), lower: of(whole.lower), upper: of(whole.upper), scale: of(whole.scale) };
  const placed = (point: readonly number[]): number[] =>
    free.reduce((all, i, k) => all.with(i, point[k]!), [...whole.start]);
  const n = free.length;
  if (n === 0) {
    yield [{ phase: 'start', point: [...whole.start], share: 1 }];
    return;
  }
  const { seed, population = 4 + Math.floor(3 * Math.log(n)) } = options;
  const constants = constantsOf(n, population);
  const { weights, muEff, cSigma, dSigma, cC, c1, cMu, expectedNorm } = constants;
  let mean = new Array<number>(n).fill(0);
  let sigma = options.sigma ?? 1;
  let covariance: number[][] = mean.map((_, i) => mean.map((_, j) => (i === j ? 1 : 0)));
  let pathSigma = new Array<number>(n).fill(0);
  let pathC = new Array<number>(n).fill(0);
  for (let generation = 0; ; generation++) {
    const { values, vectors } = symmetricEigen(covariance);
    const deviations = values.map((value) => Math.sqrt(Math.max(value, 1e-20)));
    const draws = new Draws(seed, generation, 0, DrawPurpose.SEARCH);
    const candidates: Candidate[] = Array.from({ length: population }, (_, k) => {
      const z = deviations.map((deviation) => deviation * draws.normal());
      const y = combine(vectors, z); // B D z, (39)
      const point = pointAt(
        space,
        mean.map((m, i) => m + sigma * y[i]!),
      ); // (40)
      return { phase: `generation_${generation}_${k}`, point, share: 1 };
    });
    const first: Candidate[] = generation === 0 ? [{ phase: 'start', point: space.start, share: 1 }] : [];
    const asked = [...first, ...candidates].map((one) => ({ ...one, point: placed(one.point) }));
    const told = (yield asked).slice(first.length);
    const order = candidates.map((_, k) => k).sort((a, b) => told[a]! - told[b]! || a - b);
    const steps = order
      .slice(0, weights.length)
      .map((k) => stepsTo(space, candidates[k]!.point).map((x, i) => (x - mean[i]!) / sigma));
    const drift = mean.map((_, i) => weights.reduce((sum, w, k) => sum + w * steps[k]![i]!, 0)); // (41)
    mean = mean.map((m, i) => m + sigma * drift[i]!); // (42)

    const whitened = combine(
      vectors,
      vectors.map((v, k) => dot(v, drift) / deviations[k]!),
    ); // C^(-1/2) y_w
    pathSigma = pathSigma.map((p, i) => (1 - cSigma) * p + Math.sqrt(cSigma * (2 - cSigma) * muEff) * whitened[i]!); // (43)
    const length = Math.sqrt(dot(pathSigma, pathSigma));
    // Capped, as Hansen's own code does: a row of ties must not blow the distribution up.
    sigma *= Math.exp(Math.min(1, (cSigma / dSigma) * (length / expectedNorm - 1))); // (44)
    const stalled =
      length / Math.sqrt(1 - (1 - cSigma) ** (2 * (generation + 1))) >= (1.4 + 2 / (n + 1)) * expectedNorm;
    const h = stalled ? 0 : 1;
    pathC = pathC.map((p, i) => (1 - cC) * p + h * Math.sqrt(cC * (2 - cC) * muEff) * drift[i]!); // (45)
    const keep = 1 - c1 - cMu + (1 - h) * c1 * cC * (2 - cC);
    covariance = covariance.map((row, i) =>
      row.map((c, j) => {
        const rankMu = weights.reduce((sum, w, k) => sum + w * steps[k]![i]! * steps[k]![j]!, 0);
        return keep * c + c1 * pathC[i]! * pathC[j]! + cMu * rankMu; // (47)
      }),
    );
  }
}

/** The tutorial's table 1, without negative weights. */
function constantsOf(n: number, population: number) {
  const mu = Math.floor(population / 2);
  const raw = Array.from({ length: mu }, (_, i) => Math.log((population + 1) / 2) - Math.log(i + 1));
  const total = raw.reduce((sum, w) => sum + w, 0);
  const weights = raw.map((w) => w / total);
  const muEff = 1 / weights.reduce((sum, w) => sum + w * w, 0);
  const cSigma = (muEff + 2) / (n + muEff + 5);
  const dSigma = 1 + 2 * Math.max(0, Math.sqrt((muEff - 1) / (n + 1)) - 1) + cSigma;
  const cC = (4 + muEff / n) / (n + 4 + (2 * muEff) / n);
  const c1 = 2 / ((n + 1.3) ** 2 + muEff);
  const cMu = Math.min(1 - c1, (2 * (1 / 4 + muEff + 1 / muEff - 2)) / ((n + 2) ** 2 + muEff));
  const expectedNorm = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  return { weights, muEff, cSigma, dSigma, cC, c1, cMu, expectedNorm };
}

function combine(vectors: readonly (readonly number[])[], factors: readonly number[]): number[] {
  return vectors.map((_, i) => factors.reduce((sum, factor, k) => sum + factor * vectors[k]![i]!, 0));
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}
