// Scopes own memory (design rule 1): JavaScript's garbage collector does not see tensor memory, so a block of work runs
// in a scope and every tensor made inside is freed at its end, but for those returned. Autograd keeps what the backward
// pass needs by itself. What must outlive every scope, such as parameters and optimizer moments, is passed to keep().

import { TensorError } from './errors.ts';
import { addon } from './native/addon.ts';
import { Tensor } from './tensor.ts';

/**
 * Runs `body` and frees every tensor made in it except those in its result (found in arrays, maps and plain objects)
 * and those passed to `keep`. Synchronous only: a promise would outlive the scope.
 */
export function scope<T>(body: () => T): T {
  const native = addon();
  const depth = native.beginScope();
  let result: T;
  try {
    result = body();
  } catch (error) {
    native.endScope(depth, []);
    throw error;
  }
  if (isPromiseLike(result)) {
    native.endScope(depth, []);
    throw new TensorError('SCOPE', 'scope: expected a synchronous function, got one that returns a promise');
  }
  native.endScope(depth, handlesIn(result, []));
  return result;
}

/** Takes a tensor out of all scopes: it lives until its dispose(). Returns it. */
export function keep<T extends Tensor>(tensor: T): T {
  addon().keep(tensor.handle);
  return tensor;
}

/** Tensors alive on this thread, and the bytes of their storages. */
export function memoryStats(): { liveTensors: number; liveBytes: number } {
  return { liveTensors: addon().liveTensors(), liveBytes: addon().liveBytes() };
}

function isPromiseLike(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

function handlesIn(value: unknown, handles: number[]): number[] {
  if (value instanceof Tensor) handles.push(value.handle);
  else if (Array.isArray(value)) for (const item of value) handlesIn(item, handles);
  else if (value instanceof Map) for (const item of value.values()) handlesIn(item, handles);
  else if (isPlainObject(value)) for (const item of Object.values(value)) handlesIn(item, handles);
  return handles;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
