// Autocast: inside a block, matrix products and convolutions run in a 16-bit type and what needs range (softmax, losses,
// norms) in float32; weights stay float32 and are cast once a block. Micikevicius et al., "Mixed Precision Training",
// ICLR 2018. On this kind of CPU bfloat16 is slower than float32: there it serves tests.

import { TensorError } from './errors.ts';
import { addon } from './native/addon.ts';
import { guarded } from './tensor.ts';

export interface AutocastOptions {
  device: 'cpu' | 'cuda';
  /** float16 needs a GradScaler in training. Default: bfloat16. */
  dtype?: 'bfloat16' | 'float16';
  /** False switches it off inside another block. Default: true. */
  enabled?: boolean;
}

/** Runs `body`, which must be synchronous, under autocast; the backward pass belongs outside. */
export function autocast<T>(options: AutocastOptions, body: () => T): T {
  const { device, dtype = 'bfloat16', enabled = true } = options;
  if (dtype !== 'bfloat16' && dtype !== 'float16') {
    throw new TensorError('TORCH', `autocast: expected bfloat16 or float16, got ${String(dtype)}`, {
      operation: 'autocast',
    });
  }
  const native = addon();
  const before = guarded('autocast', () => [native.autocastIsEnabled(device), native.autocastDtype(device)] as const);
  guarded('autocast', () => native.autocastBegin(device, enabled, dtype));
  try {
    const result = body();
    if (typeof (result as { then?: unknown } | undefined)?.then === 'function') {
      throw new TensorError('SCOPE', 'autocast: expected a synchronous function, got one that returns a promise');
    }
    return result;
  } finally {
    native.autocastEnd(device, ...before);
  }
}

export function isAutocastEnabled(device: 'cpu' | 'cuda'): boolean {
  return guarded('isAutocastEnabled', () => addon().autocastIsEnabled(device));
}
