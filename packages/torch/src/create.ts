// Tensors from JavaScript values.

import { wrap } from './dispatch.ts';
import { type DType, dtypeOf, INTEGER_RANGES, isDType, type TypedArray } from './dtype.ts';
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

/**
 * A tensor of nested arrays of numbers: `tensor([[1, 2], [3, 4]])`, float32 unless said otherwise. Integer types take
 * whole numbers of their range only.
 */
export function tensor(values: NestedNumbers, dtype: DType = 'float32'): Tensor {
  if (!isDType(dtype)) throw refused(`expected a dtype, got "${String(dtype)}"`);
  const shape: number[] = [];
  for (let level: NestedNumbers | undefined = values; Array.isArray(level); level = level[0]) shape.push(level.length);
  const flat: number[] = [];
  const visit = (value: NestedNumbers, depth: number): void => {
    if (Array.isArray(value) ? value.length !== shape[depth] : typeof value === 'number' && depth !== shape.length) {
      throw refused('expected nested arrays of equal lengths, got a ragged array');
    }
    if (Array.isArray(value)) for (const item of value) visit(item, depth + 1);
    else if (typeof value === 'number') flat.push(value);
    else throw refused(`expected numbers, got a value of type ${value === null ? 'null' : typeof value}`);
  };
  visit(values, 0);
  const range = INTEGER_RANGES[dtype];
  const misfit = range && flat.find((value) => !(Number.isInteger(value) && value >= range[0] && value <= range[1]));
  if (misfit !== undefined) throw refused(`expected ${dtype} values in ${range!.join(' … ')}, got ${misfit}`);

  if (dtype === 'int64') return fromBytes(BigInt64Array.from(flat, BigInt), shape, dtype);
  if (dtype === 'float32') return fromBytes(Float32Array.from(flat), shape, dtype);
  const wide = fromBytes(Float64Array.from(flat), shape, 'float64');
  if (dtype === 'float64') return wide;
  const cast = wide.to(dtype);
  wide.dispose();
  return cast;
}

function refused(problem: string): TensorError {
  return new TensorError('TORCH', `tensor: ${problem}`, { operation: 'tensor' });
}
