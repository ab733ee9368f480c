/**
 * A pipeline in a worker thread, so that the event loop of a server stays free while a model runs: the same events as
 * an async iterable, with backpressure, abort and errors. Tensors never cross threads: options and events are plain data.
 *
 * A worker has its own tensors and its own count of torch threads. What kills the whole process (a crash in native
 * code) is not survived; an uncaught error, an exit or running out of heap ends only the worker and is reported.
 */

import { Worker } from 'node:worker_threads';
import { getNumThreads } from '@tessera/torch';
import { PipelineError, type PipelineEvent } from './events.ts';
import { type FromWorker, fromPlainError, type ToWorker, type WorkerOrder } from './worker-messages.ts';

/** Which pipeline: an exported function of options with a `signal` that gives an async iterable of events. */
export interface WorkerPipeline {
  /** Name of the export, such as `sample`. */
  name: string;
  /** File URL of the module; default: this package's entry. */
  module?: string | URL;
}

export interface WorkerSettings {
  /** Reaches the pipeline as its own `signal`. */
  signal?: AbortSignal | undefined;
  /** Threads of one operation in the worker; default: those of this thread. */
  threads?: number | undefined;
  /** Events that the worker may be ahead of their reader; default 16. */
  window?: number | undefined;
  /** How long a pipeline that nobody reads any more has for its clean-up before it is cut off; default 10 s. */
  graceMs?: number | undefined;
}

/**
 * @param options as the pipeline takes them, without `signal`: plain data, copied
 * @throws what the pipeline throws, with the worker's stack; WORKER_DIED when the worker ends before the pipeline
 */
export async function* runInWorker(
  { name, module = new URL('../index.js', import.meta.url) }: WorkerPipeline,
  options: object,
  settings: WorkerSettings = {},
): AsyncGenerator<PipelineEvent> {
  const { signal, threads = getNumThreads(), window = 16, graceMs = 10_000 } = settings;
  signal?.throwIfAborted();
  const worker = new PipelineWorker({ module: String(module), name, options, threads, window });
  const abort = (): void => worker.tell({ kind: 'abort' });
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for (;;) {
      const message = await worker.next();
      if (message.kind === 'end') return;
      if (message.kind === 'error') {
        const isAbort = signal?.aborted === true && message.error.name === 'AbortError';
        throw isAbort ? signal.reason : fromPlainError(message.error);
      }
      yield message.event;
      worker.tell({ kind: 'more' });
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    await worker.close(graceMs);
  }
}

/** A worker and the messages that have come from it and were not read yet. */
class PipelineWorker {
  private readonly worker: Worker;
  private readonly received: FromWorker[] = [];
  private wake = (): void => {};
  private isOver = false;

  constructor(order: WorkerOrder) {
    this.worker = new Worker(new URL('./worker-main.js', import.meta.url), {
      workerData: order,
      name: `tessera ${order.name}`,
    });
    this.worker.on('message', (message: FromWorker) => this.receive(message));
    this.worker.on('error', (cause) =>
      this.receive(died(order.name, `failed outside the pipeline (${cause.message})`)),
    );
    this.worker.on('exit', (code) => this.receive(died(order.name, `ended with exit code ${code}`)));
  }

  async next(): Promise<FromWorker> {
    while (this.received.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.received.shift()!;
  }

  tell(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  /** Lets the pipeline clean up, then ends the worker. */
  async close(graceMs: number): Promise<void> {
    if (!this.isOver) {
      this.tell({ kind: 'stop' });
      this.tell({ kind: 'abort' });
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, graceMs);
      });
      await Promise.race([this.over(), late]);
      clearTimeout(timer);
    }
    await this.worker.terminate();
  }

  private async over(): Promise<void> {
    while (!this.isOver) await this.next();
  }

  /** What comes after the end is only the worker's exit. */
  private receive(message: FromWorker): void {
    if (this.isOver) return;
    this.isOver = message.kind !== 'event';
    this.received.push(message);
    this.wake();
  }
}

function died(name: string, how: string): FromWorker {
  const error = new PipelineError('WORKER_DIED', `The worker that ran "${name}" ${how} before the pipeline was done.`);
  return { kind: 'error', error: { name: error.name, message: error.message, code: error.code, stack: error.stack } };
}
