/** How a parameter's first values are drawn, as data: what the reference implementations do, by PyTorch's names. */

import { empty, fromTypedArray, full, linalgVectorNorm, type Tensor } from '@tessera/torch';

export type Initialisation =
  | { kind: 'constant'; value: number }
  /** Exactly these, in C order. */
  | { kind: 'values'; values: readonly number[] }
  | { kind: 'normal'; std: number; mean?: number }
  /** U(-bound, bound). */
  | { kind: 'uniform'; bound: number }
  /** U(-bound, bound), then each row divided by its length. */
  | { kind: 'uniform-unit-rows'; bound: number }
  /** U(-a, a), a = sqrt(6 / (fanIn + fanOut)) (Glorot and Bengio 2010). */
  | { kind: 'xavier-uniform' }
  /** PyTorch's default for linear and convolution layers: U(-a, a), a = 1 / sqrt(fanIn); for biases give fanIn. */
  | { kind: 'fan-in-uniform'; fanIn?: number };

export const ZEROS: Initialisation = { kind: 'constant', value: 0 };
export const ONES: Initialisation = { kind: 'constant', value: 1 };

/** A float32 tensor of `shape`, drawn with libtorch's generator. */
export function initialTensor(shape: readonly number[], initialisation: Initialisation): Tensor {
  switch (initialisation.kind) {
    case 'constant':
      return full(shape, initialisation.value);
    case 'values':
      return fromTypedArray(Float32Array.from(initialisation.values), shape);
    case 'normal':
      return empty(shape).normal_(initialisation.mean ?? 0, initialisation.std);
    case 'uniform':
      return empty(shape).uniform_(-initialisation.bound, initialisation.bound);
    case 'uniform-unit-rows': {
      const rows = empty(shape).uniform_(-initialisation.bound, initialisation.bound);
      return rows.div(linalgVectorNorm(rows, 2, [1], true).clamp(1e-12));
    }
    case 'xavier-uniform': {
      const bound = Math.sqrt(6 / (fanIn(shape) + fanOut(shape)));
      return empty(shape).uniform_(-bound, bound);
    }
    case 'fan-in-uniform': {
      const bound = 1 / Math.sqrt(initialisation.fanIn ?? fanIn(shape));
      return empty(shape).uniform_(-bound, bound);
    }
    default:
      return initialisation satisfies never;
  }
}

/** Inputs of one output: [out, in, …kernel]. */
function fanIn(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, side) => product * side, 1);
}

function fanOut(shape: readonly number[]): number {
  return shape[0]! * shape.slice(2).reduce((product, side) => product * side, 1);
}
