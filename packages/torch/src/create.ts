// Tensors from JavaScript values.

import { wrap } from './dispatch.ts';
import { type DType, dtypeOf, type TypedArray } from './dtype.ts';
import { TensorError } from './errors.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/** A CPU tensor with a copy of a typed array's values; `shape` defaults to one dimension. */
export function fromTypedArray(data: TypedArray, shape: readonly number[] = [data.length]): Tensor {
  return fromBytes(data, shape, dtypeOf(data));
}

/** A CPU tensor with a copy of raw bytes in C order, little-endian. */
export function fromBytes(data: TypedArray | ArrayBuffer, shape: readonly number[], dtype: DType): Tensor {
  return guarded('fromBytes', () => wrap(addon().fromBytes(data, shape, dtype)));
}

export type NestedNumbers = number | readonly NestedNumbers[];

/** A tensor of nested arrays of numbers: `tensor([[1, 2], [3, 4]])`, float32 unless said otherwise. */
export function tensor(values: NestedNumbers, dtype: DType = 'float32'): Tensor {
  const shape: number[] = [];
  for (let level: NestedNumbers = values; Array.isArray(level); level = level[0] ?? 0) shape.push(level.length);
  const flat: number[] = [];
  const visit = (value: NestedNumbers, depth: number): void => {
    if (typeof value === 'number') {
      if (depth !== shape.length) throw ragged();
      flat.push(value);
    } else {
      if (value.length !== shape[depth]) throw ragged();
      for (const item of value) visit(item, depth + 1);
    }
  };
  visit(values, 0);
  if (dtype === 'int64')
    return fromBytes(
      BigInt64Array.from(flat, (value) => BigInt(value)),
      shape,
      'int64',
    );
  if (dtype === 'float32') return fromBytes(Float32Array.from(flat), shape, 'float32');
  const wide = fromBytes(Float64Array.from(flat), shape, 'float64');
  if (dtype === 'float64') return wide;
  const cast = wide.to(dtype);
  wide.dispose();
  return cast;
}

function ragged(): TensorError {
  return new TensorError('TORCH', 'tensor: expected nested arrays of equal lengths, got a ragged array');
}
