// Scopes own memory (design rule 1): JavaScript's garbage collector does not see tensor memory, so a block of work runs
// in a scope and every tensor made inside is freed at its end, but for those returned. Autograd keeps what the backward
// pass needs by itself. What must outlive every scope, such as parameters and optimizer moments, is passed to keep().

import { TensorError } from './errors.ts';
import { outermostScopeBegins, outermostScopeEnds } from './memory-trace.ts';
import { addon } from './native/addon.ts';
import { guarded, Tensor } from './tensor.ts';

/**
 * Runs `body` and frees every tensor made in it except those in its result (found in arrays, maps and plain objects)
 * and those passed to `keep`. Synchronous only: a promise would outlive the scope.
 */
export function scope<T>(body: () => T): T {
  const native = addon();
  const depth = native.beginScope();
  if (depth === 1) outermostScopeBegins();
  // Whatever happens, the scope ends: one left open would swallow all that is made after it.
  let survivors: number[] = [];
  try {
    const result = body();
    if (isPromiseLike(result)) {
      throw new TensorError('SCOPE', 'scope: expected a synchronous function, got one that returns a promise');
    }
    survivors = handlesIn(result);
    return result;
  } finally {
    native.endScope(depth, survivors);
    if (depth === 1) outermostScopeEnds(survivors);
  }
}

/** Takes a tensor out of all scopes: it lives until its dispose(). Returns it. */
export function keep<T extends Tensor>(tensor: T): T {
  guarded('keep', () => addon().keep(tensor.handle));
  return tensor;
}

export interface MemoryStats {
  readonly liveTensors: number;
  /** Bytes of the storages behind them, on all devices; tensors that share a storage count it once. */
  readonly liveBytes: number;
  /** The same by device: `{ cpu: 4096, 'cuda:0': 1048576 }`. */
  readonly bytesByDevice: Readonly<Record<string, number>>;
}

/** The tensors alive on this thread. What autograd holds for a backward pass is not named by a tensor, nor counted. */
export function memoryStats(): MemoryStats {
  const bytesByDevice = addon().liveBytes();
  const liveBytes = Object.values(bytesByDevice).reduce((sum, bytes) => sum + bytes, 0);
  return { liveTensors: addon().liveTensors(), liveBytes, bytesByDevice };
}

function isPromiseLike(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** Handles of the tensors in arrays, maps and plain objects, which may refer to one another in circles. */
function handlesIn(result: unknown): number[] {
  const handles: number[] = [];
  const seen = new Set<unknown>();
  const visit = (value: unknown): void => {
    if (value instanceof Tensor) handles.push(value.handle);
    else if (typeof value === 'object' && value !== null && !seen.has(value)) {
      seen.add(value);
      if (Array.isArray(value)) for (const item of value) visit(item);
      else if (value instanceof Map) for (const item of value.values()) visit(item);
      else if (isPlainObject(value)) for (const item of Object.values(value)) visit(item);
    }
  };
  visit(result);
  return handles;
}

function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
