// Linear maps of few rows, as generation has them: the weights are read once, in order (native/linear_rows.cpp). A row's
// result is the same bits in any batch of up to 16 rows; beyond that, on other devices and where gradients are recorded
// it is libtorch's linear. Listeners are told of `linear`, which this stands for.

import { isListenedTo, wrap } from './dispatch.ts';
import { linear } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/** x — [..., in]; weight — [out, in]; returns [..., out]. */
export function linearRows(x: Tensor, weight: Tensor): Tensor {
  if (isListenedTo()) return linear(x, weight);
  return guarded('linearRows', () => wrap(addon().linearRows(x.handle, weight.handle)), x, weight);
}

/** The same with weights of a byte: weight — [out, in] int8; scales — [out] float32. */
export function linearRowsInt8(x: Tensor, weight: Tensor, scales: Tensor): Tensor {
  if (isListenedTo()) return linear(x, weight.to(x.dtype).mul(scales.unsqueeze(1)));
  return guarded(
    'linearRowsInt8',
    () => wrap(addon().linearRowsInt8(x.handle, weight.handle, scales.handle)),
    x,
    weight,
    scales,
  );
}

/** Rounds each row to multiples of its largest magnitude / 127: weight — [out, in]. */
export function quantizeRows(weight: Tensor): { weight: Tensor; scales: Tensor } {
  const wide = weight.to('float32');
  const scales = wide.abs().amax([1]).div(127).clamp(1e-12);
  return { weight: wide.div(scales.unsqueeze(1)).round().clamp(-127, 127).to('int8'), scales };
}
