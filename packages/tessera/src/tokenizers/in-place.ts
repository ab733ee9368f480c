/**
 * Activations and sums that write over their first operand where no gradient is wanted: a picture's activations at full
 * resolution are tens of megabytes, and on a CPU fresh memory costs more than the arithmetic. Values are the same bits
 * either way.
 */

import { isGradEnabled, silu, silu_, type Tensor } from '@tessera/torch';

/** x · sigmoid(x). Without gradients x is written over: pass only what nothing else reads afterwards. */
export function swish(x: Tensor): Tensor {
  return isGradEnabled() ? silu(x) : silu_(x);
}

/** x + y. Without gradients x is written over: pass only what nothing else reads afterwards. */
export function addTo(x: Tensor, y: Tensor): Tensor {
  return isGradEnabled() ? x.add(y) : x.add_(y);
}
