/**
 * Multiply-accumulates of whatever runs inside, counted as it runs: matrix products, convolutions and attention, as the
 * papers count (one MAC is two FLOPs; element-wise work is left out). A listener at the dispatch point (design rule 2).
 */

import { type DispatchEvent, listen, Tensor } from '@tessera/torch';

export function countMacs(body: () => void): number {
  let total = 0;
  const stop = listen((event) => {
    total += macsOf(event);
  });
  try {
    body();
  } finally {
    stop();
  }
  return total;
}

function macsOf({ operation, args, result }: DispatchEvent): number {
  if (!(result instanceof Tensor)) return 0;
  const [first, second] = args;
  if (!(first instanceof Tensor && second instanceof Tensor)) return 0;
  switch (operation.name) {
    case 'linear':
    case 'matmul':
    case 'mm':
    case 'bmm':
      return result.numel * first.size(-1);
    case 'conv2d':
      return (result.numel * second.numel) / second.size(0);
    case 'scaled_dot_product_attention':
      // q · k for each pair, and each pair's share of v.
      return (first.numel + result.numel) * second.size(-2);
    default:
      return 0;
  }
}
