// Linear maps of few rows, as generation has them: the weights are read once, in order (native/linear_rows.cpp). A row's
// result is the same bits in any batch of up to 16 rows; beyond that, on other devices and where gradients are recorded
// it is libtorch's linear. Listeners are told of the operations that these stand for.

import { isListenedTo, wrap } from './dispatch.ts';
import { linear, silu } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/** A weight [out, in]; with scales [out] float32 it is int8. */
export interface RowWeight {
  readonly weight: Tensor;
  readonly scales?: Tensor | undefined;
}

/** x — [..., in]; returns [..., out], with the summand of that shape added where one is given. */
export function linearRows(x: Tensor, { weight, scales }: RowWeight, summand?: Tensor): Tensor {
  if (isListenedTo()) {
    const product = generalProduct(x, { weight, scales });
    return summand === undefined ? product : summand.add(product);
  }
  return guarded(
    'linearRows',
    () => wrap(addon().linearRows(x.handle, weight.handle, scales?.handle, summand?.handle)),
    x,
    weight,
  );
}

/** silu(x gate) · (x up), a SwiGLU before its last product: x — [..., in]; returns [..., out]. */
export function gatedRows(x: Tensor, gate: RowWeight, up: RowWeight): Tensor {
  if (isListenedTo()) return silu(generalProduct(x, gate)).mul(generalProduct(x, up));
  return guarded(
    'gatedRows',
    () =>
      wrap(addon().gatedRows(x.handle, gate.weight.handle, gate.scales?.handle, up.weight.handle, up.scales?.handle)),
    x,
    gate.weight,
    up.weight,
  );
}

/** Rounds each row to multiples of its largest magnitude / 127: weight — [out, in]. */
export function quantizeRows(weight: Tensor): { weight: Tensor; scales: Tensor } {
  const wide = weight.to('float32');
  const scales = wide.abs().amax([1]).div(127).clamp(1e-12);
  return { weight: wide.div(scales.unsqueeze(1)).round().clamp(-127, 127).to('int8'), scales };
}

function generalProduct(x: Tensor, { weight, scales }: RowWeight): Tensor {
  return linear(x, scales === undefined ? weight : weight.to(x.dtype).mul(scales.unsqueeze(1)));
}
