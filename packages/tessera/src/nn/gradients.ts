/**
 * The global norm of gradients, and clipping by it (Pascanu et al., ICML 2013) as torch.nn.utils.clip_grad_norm_ does
 * it. The norm is read back once a step: one scalar tells whether the step is sound, and a step that is not must be
 * stopped before it reaches the weights.
 */

import { foreachMul_, foreachNorm, linalgVectorNorm, noGrad, scope, stack, type Tensor } from '@tessera/torch';

/** The gradients that exist, as handles of the current scope. */
export function gradientsOf(parameters: Iterable<Tensor>): Tensor[] {
  const gradients: Tensor[] = [];
  for (const parameter of parameters) {
    const gradient = parameter.grad;
    if (gradient !== undefined) gradients.push(gradient);
  }
  return gradients;
}

/** The Euclidean norm of all entries together; 0 for no gradients, NaN or infinite when an entry is. */
export function globalNorm(gradients: readonly Tensor[]): number {
  if (gradients.length === 0) return 0;
  return noGrad(() => scope(() => linalgVectorNorm(stack(foreachNorm(gradients))).item()));
}

/** Scales gradients in place so that their global norm, given, is at most `maxNorm`. */
export function clipByNorm(gradients: readonly Tensor[], norm: number, maxNorm: number): void {
  // The quotient in float32 and with torch's 1e-6, so that the same bits come out.
  const scale = Math.fround(maxNorm / Math.fround(norm + 1e-6));
  if (scale < 1) noGrad(() => foreachMul_(gradients, scale));
}
