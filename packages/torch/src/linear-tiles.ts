// Linear maps of some dozens of rows up to a few hundred (native/linear_tiles.cpp): the weights are read once, as they lie. For
// other numbers of rows, small weights, on other devices and where gradients are recorded it is libtorch's linear, which
// listeners are told of.

import { isListenedTo, wrap } from './dispatch.ts';
import { linear } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/**
 * x Wᵀ + b, for inference. A row's result is the same bits in any batch that the kernel takes, 17 to 256 rows.
 *
 * @param x [..., in]
 * @param weight [out, in]
 * @param bias [out]
 * @returns [..., out]
 */
export function linearTiles(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const fast = isListenedTo()
    ? undefined
    : guarded('linearTiles', () => addon().linearTiles(x.handle, weight.handle, bias?.handle), x, weight);
  return fast === undefined ? linear(x, weight, bias) : wrap(fast);
}
