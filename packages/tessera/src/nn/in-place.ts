/**
 * Activations and sums that write over their first operand where no gradient is wanted: on a CPU fresh memory costs more
 * than the arithmetic. Pass only what nothing else reads afterwards.
 */

import { gelu, geluInPlace, isGradEnabled, type Tensor } from '@tessera/torch';

/** GELU by the error function, or its tanh form. */
export function geluOver(x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor {
  return isGradEnabled() ? gelu(x, { approximate }) : geluInPlace(x, approximate);
}

/** x + y, of the type that it has with gradients too: under autocast a sum of 16-bit products is wider than they are. */
export function addOver(x: Tensor, y: Tensor): Tensor {
  return isGradEnabled() || x.dtype !== y.dtype ? x.add(y) : x.add_(y);
}
