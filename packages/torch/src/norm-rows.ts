// What stands between the products of generation (native/norm_rows.cpp): norms, rotary turns and gates of rows, each one call
// instead of a handful. Where those kernels do not reach, and where someone listens, they are the operations that they
// stand for. A row's result is the same bits in any batch.

import { isListenedTo, wrap } from './dispatch.ts';
import { layerNorm, rmsNorm } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/**
 * x / sqrt(mean(x²) + eps) · weight. Statistics in float32, cast back before the weight is applied: the order matters in
 * half precision.
 *
 * @param x [..., D]
 * @param weight [D]
 */
export function normRows(x: Tensor, weight: Tensor, eps: number): Tensor {
  const fast = isListenedTo()
    ? undefined
    : guarded('normRows', () => addon().normRows(x.handle, weight.handle, eps), x, weight);
  if (fast !== undefined) return wrap(fast);
  return rmsNorm(x.to('float32'), weight.shape, undefined, eps).typeAs(x).mul(weight);
}

/**
 * Turns pairs of neighbouring channels: (a, b) → (a cos − b sin, b cos + a sin), in float32, cast back.
 *
 * @param x [B, S, H, K]
 * @param cos [S, K], or any shape that broadcasts against x
 * @param sin the same, negative in the first channel of a pair
 */
export function turnRows(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const fast = isListenedTo()
    ? undefined
    : guarded('turnRows', () => addon().turnRows(x.handle, cos.handle, sin.handle), x, cos, sin);
  if (fast !== undefined) return wrap(fast);
  const broad = (part: Tensor): Tensor => (part.shape.length === 2 ? part.unsqueeze(1) : part); // [S, 1, K]
  const wide = x.to('float32');
  const swapped = wide.unflatten(-1, [-1, 2]).flip([-1]).flatten(-2); // (a, b) → (b, a)
  return wide.mul(broad(cos)).addcmul(swapped, broad(sin)).typeAs(x);
}

/**
 * LN(x) · (1 + scale) + shift, LN without weights of its own (adaLN).
 *
 * @param x [B, N, D]
 * @param shift [B, 1, D]
 * @param scale [B, 1, D]
 */
export function modulateRows(x: Tensor, shift: Tensor, scale: Tensor, eps: number): Tensor {
  const fast = isListenedTo()
    ? undefined
    : guarded('modulateRows', () => addon().modulateRows(x.handle, shift.handle, scale.handle, eps), x, shift, scale);
  if (fast !== undefined) return wrap(fast);
  return shift.addcmul(layerNorm(x, [x.size(-1)], undefined, undefined, eps), scale.add(1));
}

/**
 * x + gate · y, which without a gradient may be written over y: pass only what nothing else reads afterwards.
 *
 * @param x [B, N, D]
 * @param gate [B, 1, D]
 * @param y [B, N, D]
 */
export function gateRows(x: Tensor, gate: Tensor, y: Tensor): Tensor {
  const done =
    !isListenedTo() && guarded('gateRows', () => addon().gateRows(x.handle, gate.handle, y.handle), x, gate, y);
  return done ? y : x.addcmul(gate, y);
}
