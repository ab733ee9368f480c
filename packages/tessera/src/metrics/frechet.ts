/**
 * The Fréchet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017, FID):
 *
 *   |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁S₂)^½
 *
 * The eigenvalues of S₁S₂ are those of the symmetric LᵀS₂L with S₁ = LLᵀ, so a Cholesky factor and symmetric eigenvalues do:
 * at 2048 features seconds, where a general matrix square root takes a minute. A covariance of fewer images than features has
 * no such factor; then the other one's is taken, and where both are singular the symmetric root of one by its eigenvectors.
 * Eigenvalues that rounding made negative count as 0: the real part of their root, as in the reference evaluators.
 */

import { linalgCholesky, linalgEigh, linalgEigvalsh, noGrad, scope, type Tensor, TensorError } from '@tessera/torch';
import type { FeatureStatistics } from './feature-statistics.ts';
import { MetricError } from './metric-error.ts';

type Gaussian = Pick<FeatureStatistics, 'mean' | 'covariance'>;

/** In units of squared features; 0 for equal statistics, up to rounding. */
export function frechetDistance(a: Gaussian, b: Gaussian): number {
  checkPair(a, b);
  return noGrad(() =>
    scope(() => {
      const [s1, s2] = [a.covariance.to('float64'), b.covariance.to('float64')];
      const shift = a.mean.to('float64').sub(b.mean.to('float64')).square().sum().item();
      return shift + s1.trace().item() + s2.trace().item() - 2 * traceOfRoot(s1, s2);
    }),
  );
}

/** tr (S₁S₂)^½ of two positive semidefinite matrices. */
function traceOfRoot(s1: Tensor, s2: Tensor): number {
  let factor = cholesky(s1);
  let other = s2;
  if (factor === undefined) {
    factor = cholesky(s2);
    other = s1;
  }
  factor ??= symmetricRoot(s2);
  const product = factor.t().mm(other).mm(factor);
  // Symmetric up to rounding, and the routine reads one half only.
  const eigenvalues = linalgEigvalsh(product.add(product.t()).div(2));
  return eigenvalues.clamp(0).sqrt().sum().item();
}

function cholesky(s: Tensor): Tensor | undefined {
  try {
    return linalgCholesky(s);
  } catch (error) {
    if (error instanceof TensorError) return undefined;
    throw error;
  }
}

/** L with S = LLᵀ: by Cholesky, and of a singular S its symmetric root; float64, in the caller's scope. */
export function covarianceFactor(s: Tensor): Tensor {
  return cholesky(s) ?? scope(() => symmetricRoot(s));
}

/** S^½ by eigenvectors. */
function symmetricRoot(s: Tensor): Tensor {
  const [eigenvalues, eigenvectors] = linalgEigh(s);
  return eigenvectors.mul(eigenvalues.clamp(0).sqrt()).mm(eigenvectors.t());
}

function checkPair(a: Gaussian, b: Gaussian): void {
  const [dimA, dimB] = [a.mean.numel, b.mean.numel];
  for (const [{ covariance }, dim] of [
    [a, dimA],
    [b, dimB],
  ] as const) {
    const { shape } = covariance;
    if (shape.length === 2 && shape[0] === dim && shape[1] === dim) continue;
    throw new MetricError(
      'METRIC_SHAPE',
      `Expected a covariance [${dim}, ${dim}] for a mean of ${dim} features, got [${shape.join(', ')}].`,
    );
  }
  if (dimA !== dimB) {
    throw new MetricError(
      'METRIC_DIMENSION',
      `Cannot compare statistics of ${dimA} features with statistics of ${dimB}: they come from different extractors.`,
    );
  }
  for (const { mean, covariance } of [a, b]) {
    if (!mean.isfinite().all().item() || !covariance.isfinite().all().item()) {
      throw new MetricError('METRIC_NOT_FINITE', 'Expected finite statistics, got NaN or infinite values.');
    }
  }
}
