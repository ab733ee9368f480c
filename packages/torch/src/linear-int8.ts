// Linear maps of many rows with weights of a byte (native/linear_int8.cpp): on processors with AVX2 about twice as fast as
// float32, at an error of about 2 % of a product's norm. Inputs are rounded row by row, so a row's result is the same bits
// in any batch. No gradients. Listeners are told of `linear_int8`.

import { announced, wrap } from './dispatch.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/**
 * A weight [out, in] float32 in the form that `linearInt8` takes, each output rounded to multiples of its largest
 * magnitude / 127: an opaque tensor. Undefined where this libtorch has no int8 product.
 */
export function packInt8(weight: Tensor): Tensor | undefined {
  return guarded(
    'packInt8',
    () => {
      const handle = addon().packInt8(weight.handle);
      return handle === undefined ? undefined : wrap(handle);
    },
    weight,
  );
}

/** x — [..., in] float32; packed — by `packInt8`; bias — [out]; returns [..., out]. */
export function linearInt8(x: Tensor, packed: Tensor, bias?: Tensor): Tensor {
  return announced('linear_int8', [x, packed], () =>
    guarded('linearInt8', () => wrap(addon().linearPacked(x.handle, packed.handle, bias?.handle)), x, packed),
  );
}
