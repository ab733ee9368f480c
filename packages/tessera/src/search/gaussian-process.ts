/**
 * Regression by a Gaussian process: what noisy values at some points say of a function elsewhere, and how surely (Rasmussen &
 * Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1 and section 5.4).
 *
 *   value(x) = mean + f(x) + noise   cov f(x), f(y) = s² exp(−|x − y|² / 2ℓ²)   noise ~ N(0, s² r)
 *
 * The mean and s² have closed forms; the length ℓ and the share of noise r are those of a small grid that make the values
 * likeliest. One length holds for all variables, so the caller chooses their units. Costs N³/6 products for each of 16 pairs.
 */

import { cholesky, solveLower, solveUpper } from './linear-algebra.ts';

/** In units of the points. */
const LENGTHS = [1.5, 2.5, 4, 6.5];
/** Variances, as shares of that of the function. */
const NOISES = [1e-6, 3e-3, 0.03, 0.15];

export interface Posterior {
  /** Expected value of the function at `x` — [n]. */
  mean(x: readonly number[]): number;
  /** The same, with its standard deviation; that of a measurement has the noise on top. */
  predict(x: readonly number[]): { mean: number; deviation: number };
  /** As if `x` had been measured and its expected value found: what is known there need not be asked twice. */
  imagine(x: readonly number[]): Posterior;
}

/**
 * @param points — [N][n], N >= 1
 * @param values — [N]
 */
export function gaussianProcess(points: readonly (readonly number[])[], values: readonly number[]): Posterior {
  const squares = points.map((x, i) => points.slice(0, i + 1).map((y) => distance(x, y)));
  let best: Fit | undefined;
  for (const length of LENGTHS) {
    const covariance = squares.map((row) => row.map((square) => Math.exp(-square / (2 * length ** 2))));
    for (const noise of NOISES) {
      const factor = cholesky(covariance.map((row, i) => row.with(i, 1 + noise)));
      const fit = fitted(factor, values, { length, noise });
      if (best === undefined || fit.likelihood > best.likelihood) best = fit;
    }
  }
  return posterior(points, values, best!);
}

interface Fit {
  length: number;
  noise: number;
  /** Lower triangle L with L Lᵀ the covariance of the values, over s². */
  factor: number[][];
  mean: number;
  /** s². */
  variance: number;
  /** Logarithm, but for a constant. */
  likelihood: number;
}

function fitted(factor: number[][], values: readonly number[], scale: Pick<Fit, 'length' | 'noise'>): Fit {
  const ones = solveLower(factor, new Array<number>(values.length).fill(1));
  const white = solveLower(factor, values);
  const mean = dot(ones, white) / dot(ones, ones);
  const rest = white.map((y, i) => y - mean * ones[i]!);
  // Equal values have no variance, and any would do.
  const variance = dot(rest, rest) / values.length || Number.MIN_VALUE;
  const logDeterminant = factor.reduce((sum, row) => sum + Math.log(row.at(-1)!), 0);
  return { ...scale, factor, mean, variance, likelihood: -0.5 * values.length * Math.log(variance) - logDeterminant };
}

function posterior(points: readonly (readonly number[])[], values: readonly number[], fit: Fit): Posterior {
  const { length, noise, factor, mean, variance } = fit;
  const weights = solveUpper(
    factor,
    solveLower(
      factor,
      values.map((value) => value - mean),
    ),
  );
  const covariances = (x: readonly number[]): number[] =>
    points.map((y) => Math.exp(-distance(x, y) / (2 * length ** 2)));
  const expected = (near: readonly number[]): number => mean + dot(near, weights);
  return {
    mean: (x) => expected(covariances(x)),
    predict(x) {
      const near = covariances(x);
      const white = solveLower(factor, near);
      return { mean: expected(near), deviation: Math.sqrt(variance * Math.max(0, 1 - dot(white, white))) };
    },
    imagine(x) {
      const near = covariances(x);
      const row = solveLower(factor, near);
      const left = Math.sqrt(Math.max(noise, 1 + noise - dot(row, row)));
      return posterior([...points, x], [...values, expected(near)], { ...fit, factor: [...factor, [...row, left]] });
    },
  };
}

/** Squared. */
function distance(x: readonly number[], y: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i]! - y[i]!) ** 2;
  return sum;
}

function dot(x: readonly number[], y: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}
