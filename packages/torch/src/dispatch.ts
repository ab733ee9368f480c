// The one function through which every tensor operation passes (design rule 2). It turns tensors into handles, calls
// the native operation, wraps what comes back, and tells listeners: profilers, counters and exporters see every
// operation with its arguments and need no hook in model code.

import { TensorError } from './errors.ts';
import { addon } from './native/addon.ts';
import type { Tensor } from './tensor.ts';

/** One row of the operation table. */
export interface Operation {
  /** Position in the native table. */
  readonly index: number;
  /** ATen's name, such as `layer_norm`. */
  readonly name: string;
  /** With its overload, such as `add.Tensor`. */
  readonly overload: string;
  readonly parameters: readonly string[];
}

export type Argument =
  | Tensor
  | readonly (Tensor | undefined)[]
  | readonly number[]
  | number
  | boolean
  | string
  | undefined;
export type Result = Tensor | Tensor[] | number | boolean | undefined;

/** What a listener is told after an operation has run. */
export interface DispatchEvent {
  readonly operation: Operation;
  readonly args: readonly Argument[];
  readonly result: Result;
}

export type Listener = (event: DispatchEvent) => void;

const listeners = new Set<Listener>();

/** Calls `listener` after every operation on this thread until the returned function is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let TensorClass: (new (handle: number) => Tensor) | undefined;

/** Called once by tensor.ts, which dispatch cannot import: Tensor's methods are operations. */
export function registerTensorClass(tensorClass: new (handle: number) => Tensor): void {
  TensorClass = tensorClass;
}

/** Makes a Tensor of a native handle. */
export function wrap(handle: number): Tensor {
  return new TensorClass!(handle);
}

export function dispatch(operation: Operation, args: readonly Argument[]): Result {
  const native = addon();
  const nativeArgs = new Array<unknown>(args.length);
  for (let i = 0; i < args.length; i++) {
    const value = args[i];
    if (value instanceof TensorClass!) nativeArgs[i] = value.handle;
    else if (Array.isArray(value) && value.some((item) => item instanceof TensorClass!)) {
      nativeArgs[i] = value.map((item) => (item instanceof TensorClass! ? item.handle : undefined));
    } else nativeArgs[i] = value;
  }
  let raw: unknown;
  try {
    raw = native.operations[operation.index]!(...nativeArgs);
  } catch (error) {
    throw explain(error, operation, args);
  }
  const result = wrapResult(raw);
  if (listeners.size > 0) for (const listener of listeners) listener({ operation, args, result });
  return result;
}

function wrapResult(raw: unknown): Result {
  if (typeof raw === 'number') return wrap(raw);
  if (Array.isArray(raw)) return raw.map((handle) => wrap(handle as number));
  return raw as Result;
}

/** Adds to a native error the operation and what it was given. */
export function explain(error: unknown, operation: Operation, args: readonly Argument[]): TensorError {
  const { message, code } = error as { message: string; code?: string };
  const given = args
    .map((value, i) => {
      const text = describe(value);
      return text === undefined ? undefined : `${operation.parameters[i]} ${text}`;
    })
    .filter((text) => text !== undefined);
  // libtorch appends its own stack of C++ frames to some messages; the first paragraph says what is wrong.
  const what = message.split('\nException raised from')[0]!.trim();
  const withArguments = given.length === 0 ? what : `${what} (${given.join(', ')})`;
  return new TensorError(code === 'DISPOSED' ? 'DISPOSED' : 'TORCH', `${operation.name}: ${withArguments}`, {
    operation: operation.name,
    cause: error,
  });
}

function describe(value: Argument): string | undefined {
  if (value === undefined) return undefined;
  if (value instanceof TensorClass!) return value.describe();
  if (Array.isArray(value)) {
    return `[${value.map((item) => (item instanceof TensorClass! ? item.describe() : String(item))).join(', ')}]`;
  }
  return String(value);
}
