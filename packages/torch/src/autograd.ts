// Gradient recording, switched for a block, and gradients as values (torch.autograd.grad).

import { wrap } from './dispatch.ts';
import { addon } from './native/addon.ts';
import { type BackwardOptions, guarded, type Tensor } from './tensor.ts';

export interface GradientsOptions extends Omit<BackwardOptions, 'leaves'> {
  /** What each output's gradient is multiplied by, in the outputs' shapes; not needed for scalars. */
  readonly gradOutputs?: readonly Tensor[];
}

/**
 * The gradients of the sum of `outputs` with respect to `inputs`, as new tensors; `grad` of no leaf is touched. An input
 * that the outputs do not depend on gives undefined. For gradient penalties pass `createGraph`, for weights that balance
 * two losses `retainGraph`.
 */
export function gradients(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  { gradOutputs = [], retainGraph = false, createGraph = false }: GradientsOptions = {},
): (Tensor | undefined)[] {
  if (inputs.length === 0) return [];
  const handlesOf = (tensors: readonly Tensor[]) => tensors.map((tensor) => tensor.handle);
  const handles = guarded(
    'gradients',
    () => addon().gradients(handlesOf(outputs), handlesOf(inputs), handlesOf(gradOutputs), retainGraph, createGraph),
    ...outputs,
    ...inputs,
  );
  return handles.map((handle) => (handle === undefined ? undefined : wrap(handle)));
}

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
