// Attention of many tokens to many, as blocks of a transformer have it (native/attend_tokens.cpp): heads are read from and
// written to the rows of the projections. Where that kernel does not reach, and where someone listens, it is libtorch's
// attention. A query's result is the same bits in any batch.

import { isListenedTo, wrap } from './dispatch.ts';
import { scaledDotProductAttention } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/**
 * softmax(q k / sqrt(K)) v in each of H heads, which lie side by side in a row.
 *
 * @param queries [B, N, H·K]
 * @param keys,values [B, S, H·K]
 * @param numHeads H
 * @returns [B, N, H·K]
 */
export function attendTokens(queries: Tensor, keys: Tensor, values: Tensor, numHeads: number): Tensor {
  const handles = [queries.handle, keys.handle, values.handle, numHeads] as const;
  const fast = isListenedTo()
    ? undefined
    : guarded('attendTokens', () => addon().attendTokens(...handles), queries, keys, values);
  if (fast !== undefined) return wrap(fast);
  const heads = (x: Tensor): Tensor => x.unflatten(-1, [numHeads, -1]).transpose(1, 2); // [B, H, N, K]
  return scaledDotProductAttention(heads(queries), heads(keys), heads(values)).transpose(1, 2).reshape(queries.shape);
}
