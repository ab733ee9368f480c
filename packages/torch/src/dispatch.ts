// The one function through which every tensor operation passes (design rule 2). It turns tensors into handles, calls
// the native operation, wraps what comes back, and tells listeners: profilers, counters and exporters see every
// operation with its arguments and need no hook in model code.

import { TensorError } from './errors.ts';
import { type Addon, addon } from './native/addon.ts';
import type { Tensor } from './tensor.ts';
import { shortMessage } from './torch-message.ts';

/** One row of the operation table. */
export interface Operation {
  /** Position in the native table. */
  readonly index: number;
  /** ATen's name, such as `layer_norm`. */
  readonly name: string;
  /** With its overload, such as `add.Tensor`. */
  readonly overload: string;
  readonly parameters: readonly string[];
  /** A letter a parameter: T a tensor (or none), L a list of tensors, - a plain value. */
  readonly kinds: string;
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
  /** When it began and ended, as performance.now(); on a GPU the time to start it, not to run it. */
  readonly began: number;
  readonly ended: number;
}

export type Listener = (event: DispatchEvent) => void;

const listeners = new Set<Listener>();

/** Calls `listener` after every operation on this thread until the returned function is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether anyone listens: then fast paths beside the table run the operation of the table that they stand for. */
export function isListenedTo(): boolean {
  return listeners.size > 0;
}

let TensorClass: (new (handle: number) => Tensor) | undefined;

/** Called once by tensor.ts, which dispatch cannot import: Tensor's methods are operations. */
export function registerTensorClass(tensorClass: new (handle: number) => Tensor): void {
  TensorClass = tensorClass;
}

let watcher: ((tensor: Tensor) => void) | undefined;

/** Tells `watch` of every new tensor until the returned function is called; one watcher at a time (memory-trace.ts). */
export function watchTensors(watch: (tensor: Tensor) => void): () => void {
  watcher = watch;
  return () => {
    if (watcher === watch) watcher = undefined;
  };
}

/** Makes a Tensor of a native handle. */
export function wrap(handle: number): Tensor {
  const tensor = new TensorClass!(handle);
  watcher?.(tensor);
  return tensor;
}

/** The addon's operations; to find them among all that it exports takes as long as a small scope. */
let natives: Addon['operations'] | undefined;

export function dispatch(operation: Operation, args: readonly Argument[]): Result {
  const given = new Array<unknown>(args.length);
  for (let i = 0; i < args.length; i++) given[i] = nativeArgument(operation, args, i);
  const began = listeners.size > 0 ? performance.now() : 0;
  natives ??= addon().operations;
  let raw: unknown;
  try {
    raw = call(natives[operation.index]!, given);
  } catch (error) {
    throw explain(error, operation, args);
  }
  const result = wrapResult(raw);
  if (listeners.size > 0) tell(operation, args, result, began);
  return result;
}

/** Spreading an array into a call costs as much as the call itself: short argument lists are written out. */
function call(native: (...args: unknown[]) => unknown, args: readonly unknown[]): unknown {
  switch (args.length) {
    case 1:
      return native(args[0]);
    case 2:
      return native(args[0], args[1]);
    case 3:
      return native(args[0], args[1], args[2]);
    case 4:
      return native(args[0], args[1], args[2], args[3]);
    default:
      return native(...args);
  }
}

/** Runs a function of the hand-written core and tells listeners of it like of an operation, under the index -1. */
export function announced<T extends Result>(name: string, args: readonly Tensor[], body: () => T): T {
  if (listeners.size === 0) return body();
  const began = performance.now();
  const result = body();
  tell(
    { index: -1, name, overload: name, parameters: [], kinds: 'T'.repeat(args.length) },
    args,
    result ?? undefined,
    began,
  );
  return result;
}

function tell(operation: Operation, args: readonly Argument[], result: Result, began: number): void {
  const ended = performance.now();
  for (const listener of listeners) listener({ operation, args, result, began, ended });
}

function wrapResult(raw: unknown): Result {
  if (typeof raw === 'number') return wrap(raw);
  if (Array.isArray(raw)) return raw.map((handle) => wrap(handle as number));
  return raw as Result;
}

/** What `instanceof` says, at a fifth of its cost where the class is no constant. */
function isTensor(value: unknown): value is Tensor {
  return (value as Tensor | undefined)?.constructor === TensorClass || value instanceof TensorClass!;
}

/** Handles are numbers in the addon, so what is a tensor and what a number is checked on this side of it. */
function nativeArgument(operation: Operation, args: readonly Argument[], i: number): unknown {
  const value = args[i];
  const kind = operation.kinds[i];
  if (kind === 'T') {
    if (isTensor(value)) return value.handle;
    if (value === undefined || value === null) return undefined;
    throw refused(operation, args, i, 'a tensor');
  }
  if (kind === 'L') {
    if (!Array.isArray(value)) throw refused(operation, args, i, 'an array of tensors');
    return value.map((item) => {
      if (isTensor(item)) return item.handle;
      if (item === undefined || item === null) return undefined;
      throw refused(operation, args, i, 'an array of tensors');
    });
  }
  if (typeof value === 'number') return value;
  if (isTensor(value)) throw refused(operation, args, i, 'a plain value');
  if (Array.isArray(value) && !value.every(Number.isSafeInteger)) {
    throw refused(operation, args, i, 'an array of integers');
  }
  return value;
}

function refused(operation: Operation, args: readonly Argument[], i: number, expected: string): TensorError {
  return explain({ message: `argument ${i}: expected ${expected}, got ${describe(args[i])}` }, operation, args);
}

/** Adds to a native error the operation and what it was given. */
export function explain(error: unknown, operation: Operation, args: readonly Argument[]): TensorError {
  const { message, code } = error as { message: string; code?: string };
  const given = args.flatMap((value, i) =>
    value === undefined ? [] : [`${operation.parameters[i]} ${describe(value)}`],
  );
  const what = shortMessage(message, operation.name).replace(
    /^argument (\d+): expected (.*?), got /,
    (_, i, expected) => `expected ${expected} as ${operation.parameters[i]}, got `,
  );
  const withArguments = given.length === 0 ? what : `${what} (${given.join(', ')})`;
  return new TensorError(code === 'DISPOSED' ? 'DISPOSED' : 'TORCH', `${operation.name}: ${withArguments}`, {
    operation: operation.name,
    ...(error instanceof Error ? { cause: error } : {}),
  });
}

/** Optimizers pass hundreds of tensors: a message names the first few. */
const DESCRIBED = 6;

function describe(value: unknown): string {
  if (value instanceof TensorClass!) return value.describe();
  if (Array.isArray(value)) {
    const items = value.slice(0, DESCRIBED).map(describe);
    return `[${items.join(', ')}${value.length > DESCRIBED ? `, … ${value.length} in all` : ''}]`;
  }
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  return String(value);
}
