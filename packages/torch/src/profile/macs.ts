// Multiply-accumulates by formula: what products and convolutions cost whatever runs them. Papers that count "GFLOPs"
// of a forward pass mean these. Everything else (norms, activations, copies) counts as zero, as is usual.

import { type Argument, type DispatchEvent, listen } from '../dispatch.ts';
import { Tensor } from '../tensor.ts';

/** Multiply-accumulates of one operation, 0 where it is no product. */
export function macsOf({ operation, args, result }: DispatchEvent): number {
  if (!(result instanceof Tensor)) return 0;
  const shape = (i: number): number[] => (args[i] as Tensor).shape;
  switch (operation.name) {
    case 'linear': // [..., in] × [out, in]
    case 'linear_int8':
    case 'matmul':
    case 'mm':
    case 'bmm':
    case 'cdist':
      return result.numel * shape(0).at(-1)!;
    case 'addmm':
    case 'baddbmm':
      return result.numel * shape(1).at(-1)!;
    case 'conv1d':
    case 'conv2d': // weight [out, in / groups, ...kernel]
      return result.numel * product(shape(1).slice(1));
    case 'conv_transpose2d': // weight [in, out / groups, ...kernel]
      return (args[0] as Tensor).numel * product(shape(1).slice(1));
    case 'scaled_dot_product_attention': {
      const keys = shape(1).at(-2)!;
      return ((args[0] as Tensor).numel + result.numel) * keys; // q kᵀ, then its softmax times v
    }
    case 'einsum':
      return einsumMacs(args[0] as string, args[1] as readonly Tensor[]);
    default:
      return 0;
  }
}

/** Runs `body` and counts the multiply-accumulates of its operations; those of a backward pass are not seen. */
export function countMacs<T>(body: () => T): { result: T; macs: number } {
  let macs = 0;
  const stop = listen((event) => {
    macs += macsOf(event);
  });
  try {
    const result = body();
    return { result, macs };
  } finally {
    stop();
  }
}

/** The size of the loop over all letters; zero for one operand, which is a sum or a transpose. */
function einsumMacs(equation: string, operands: readonly Argument[]): number {
  if (operands.length < 2 || equation.includes('.')) return 0;
  const sizes = new Map<string, number>();
  const terms = equation.split('->')[0]!.replaceAll(' ', '').split(',');
  for (const [i, term] of terms.entries()) {
    const { shape } = operands[i] as Tensor;
    for (const [axis, letter] of [...term].entries()) sizes.set(letter, shape[axis]!);
  }
  return product([...sizes.values()]);
}

function product(sides: readonly number[]): number {
  return sides.reduce((whole, side) => whole * side, 1);
}
