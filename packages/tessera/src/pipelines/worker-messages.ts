/** What a pipeline in a worker and its caller tell each other, and how errors cross between threads. */

import { PipelineError, type PipelineEvent } from './events.ts';

/** Given to the worker when it starts. */
export interface WorkerOrder {
  /** File URL of the module that exports the pipeline. */
  module: string;
  name: string;
  options: object;
  threads: number;
  /** Events that may be under way. */
  window: number;
}

export type ToWorker =
  /** One more event may come. */
  | { kind: 'more' }
  /** Abort the pipeline's signal. */
  | { kind: 'abort' }
  /** Nobody reads any more: end at the next event. */
  | { kind: 'stop' };

export type FromWorker =
  | { kind: 'event'; event: PipelineEvent }
  | { kind: 'end' }
  | { kind: 'error'; error: PlainError };

/** Structured clones of errors lose their class, code and cause. */
export interface PlainError {
  name: string;
  message: string;
  stack?: string | undefined;
  code?: string | undefined;
  cause?: PlainError | undefined;
}

const DEEPEST_CAUSE = 4;

export function toPlainError(error: unknown, depth = 0): PlainError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    name,
    message,
    stack,
    code: typeof code === 'string' ? code : undefined,
    cause: cause === undefined || depth >= DEEPEST_CAUSE ? undefined : toPlainError(cause, depth + 1),
  };
}

/** A PipelineError where it was one, else an Error with the same name and code; the stack is the worker's. */
export function fromPlainError({ name, message, stack, code, cause }: PlainError): Error {
  const options = cause === undefined ? undefined : { cause: fromPlainError(cause) };
  const error =
    name === 'PipelineError' && code !== undefined
      ? new PipelineError(code, message, options)
      : Object.assign(new Error(message, options), code === undefined ? { name } : { name, code });
  if (stack !== undefined) error.stack = stack;
  return error;
}
