// Gradient recording, switched for a block, and gradients as values.

import { wrap } from './dispatch.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

/** Runs `body` without recording operations for the backward pass. */
export function noGrad<T>(body: () => T): T {
  return withGradMode(false, body);
}

/** Runs `body` with recording on, inside a noGrad block. */
export function enableGrad<T>(body: () => T): T {
  return withGradMode(true, body);
}

export function isGradEnabled(): boolean {
  return addon().isGradEnabled();
}

/**
 * The gradient of a scalar with respect to each input, which must be part of its graph. No `grad` changes, and the graph
 * stays: backward() may follow.
 */
export function gradients(scalar: Tensor, inputs: readonly Tensor[]): Tensor[] {
  const handles = inputs.map(({ handle }) => handle);
  return guarded('gradients', () => addon().gradients(scalar.handle, handles), scalar).map(wrap);
}

function withGradMode<T>(enabled: boolean, body: () => T): T {
  const native = addon();
  const before = native.isGradEnabled();
  native.setGradEnabled(enabled);
  try {
    return body();
  } finally {
    native.setGradEnabled(before);
  }
}
