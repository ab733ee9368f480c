// A collective under way.

import { setTimeout as sleep } from 'node:timers/promises';
import { addon } from '../native/addon.ts';

/** Milliseconds between two looks at a work of NCCL, which calls nobody back. */
const LOOK = 1;

export class Work<T> {
  readonly #handle: number;
  readonly #polled: boolean;
  readonly #finish: () => T;
  readonly #explain: (error: unknown) => Error;
  #result: { value: T } | { error: Error } | undefined;
  #promise: Promise<T> | undefined;

  /** Not for users: the start… methods of a ProcessGroup return works. */
  constructor(handle: number, polled: boolean, finish: () => T, explain: (error: unknown) => Error) {
    this.#handle = handle;
    this.#polled = polled;
    this.#finish = finish;
    this.#explain = explain;
  }

  /** Whether it has ended, well or badly. */
  get isDone(): boolean {
    return this.#result !== undefined || addon().workIsDone(this.#handle);
  }

  /** Blocks this thread, event loop and all, until the result is there. On CUDA it makes the stream wait, not the host. */
  wait(): T {
    if (this.#result === undefined) {
      try {
        addon().workWait(this.#handle);
      } catch (error) {
        this.#result = { error: this.#explain(error) };
        throw this.#result.error;
      }
      this.#result = { value: this.#finish() };
    }
    if ('error' in this.#result) throw this.#result.error;
    return this.#result.value;
  }

  /** Resolves when the result is there; the event loop goes on meanwhile. Tensors must live until then. */
  finished(): Promise<T> {
    this.#promise ??= this.#whenDone().then(() => this.wait());
    return this.#promise;
  }

  async #whenDone(): Promise<void> {
    if (this.isDone) return;
    if (this.#polled) while (!this.isDone) await sleep(LOOK);
    else await new Promise<void>((resolve) => addon().workWatch(this.#handle, resolve));
  }
}
