// Attention of one new position a row over its cache, as generation has it (native/attend_rows.cpp): a row's result is the
// same bits in any batch. Where that kernel does not reach, it is libtorch's attention; listeners are told of that.

import { isListenedTo, wrap } from './dispatch.ts';
import { arange, scaledDotProductAttention } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/**
 * softmax(q k / sqrt(K)) v.
 *
 * @param query [R, Hkv, G, K]
 * @param keys,values [R, Hkv, S, K]
 * @param lengths positions of each row that count, [R] int64, 1..S; default: all
 * @returns [R, Hkv, G, K]
 */
export function attendRows(query: Tensor, keys: Tensor, values: Tensor, lengths?: Tensor): Tensor {
  if (isListenedTo()) {
    const attnMask = lengths === undefined ? undefined : maskOf(lengths, keys.size(2));
    return scaledDotProductAttention(query, keys, values, { attnMask });
  }
  return guarded(
    'attendRows',
    () => wrap(addon().attendRows(query.handle, keys.handle, values.handle, lengths?.handle)),
    query,
    keys,
    values,
  );
}

function maskOf(lengths: Tensor, most: number): Tensor {
  const positions = arange(0, most, 1, { device: lengths.device });
  return positions.unsqueeze(0).lt(lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1); // [R, 1, 1, S]
}
