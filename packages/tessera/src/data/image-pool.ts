/**
 * Decodes, resizes and crops images in worker threads, so that the thread that encodes finds pixels waiting.
 *
 * The encoder blocks its thread for a whole batch, and hands out no work meanwhile: each worker is therefore given its
 * images ahead, up to `ahead` in flight over all of them, which also bounds the memory. Results come in the order of the
 * list whatever worker was faster; pixels are transferred, not copied. An image that cannot be read is a result like
 * any other. A worker that dies takes the image with it that it was at, nothing else.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ImagePlace } from './prepare-image.ts';
import type { ImageRecipe } from './variants.ts';

/** [variants, Y, X, 3] uint8, or why there is none. */
export type PreparedImage = { pixels: Uint8Array } | { reason: string };

export type ToWorker = { id: number; place: ImagePlace };
export type FromWorker = { ready: true } | ({ id: number } & PreparedImage);

export interface PoolOptions {
  /** Worker threads; default one a core, at most 16. */
  workers?: number;
  /** For tests: a module that speaks the same messages. */
  worker?: URL;
}

export interface PrepareOptions {
  /** Images in flight, at least one. */
  ahead: number;
  signal?: AbortSignal | undefined;
}

interface Task extends ToWorker {
  resolve(result: PreparedImage): void;
  reject(error: Error): void;
}

interface Slot {
  worker: Worker;
  ready: boolean;
  /** Told and not yet answered, oldest first. */
  tasks: Task[];
}

const MAX_WORKERS = 16;

export class ImagePool {
  private readonly recipe: ImageRecipe;
  private readonly module: URL;
  private readonly slots: Slot[];
  private nextId = 0;
  private closed = false;
  private broken: Error | undefined;

  constructor(recipe: ImageRecipe, options: PoolOptions = {}) {
    const { workers = Math.min(MAX_WORKERS, availableParallelism()), worker = WORKER } = options;
    this.recipe = recipe;
    this.module = worker;
    this.slots = Array.from({ length: Math.max(1, workers) }, (_, i) => this.startSlot(i));
  }

  /** The results of a list of images, in its order. Ending the loop early is fine. */
  async *prepare(places: Iterable<ImagePlace>, { ahead, signal }: PrepareOptions): AsyncGenerator<PreparedImage> {
    const rest = places[Symbol.iterator]();
    const pending: Promise<PreparedImage>[] = [];
    const fill = (): void => {
      while (pending.length < Math.max(1, ahead)) {
        const next = rest.next();
        if (next.done) return;
        const result = this.prepareOne(next.value);
        // Awaited in its turn; until then a failure is no unhandled one.
        result.catch(() => {});
        pending.push(result);
      }
    };
    for (fill(); pending.length > 0; fill()) {
      signal?.throwIfAborted();
      yield await pending.shift()!;
    }
  }

  /** One image; whoever asks bounds how many are in flight. */
  prepareOne({ path, relativePath, range, crop }: ImagePlace): Promise<PreparedImage> {
    const place: ImagePlace = {
      path,
      relativePath,
      ...(range === undefined ? {} : { range }),
      ...(crop === undefined ? {} : { crop }),
    };
    return new Promise((resolve, reject) => {
      if (this.broken !== undefined) throw this.broken;
      const slot = this.slots.reduce((least, other) => (other.tasks.length < least.tasks.length ? other : least));
      tell(slot, { id: this.nextId++, place, resolve, reject });
    });
  }

  /** Ends the workers; images in flight are dropped. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.slots.map(({ worker }) => worker.terminate()));
  }

  private startSlot(index: number): Slot {
    const worker = new Worker(this.module, { workerData: { recipe: this.recipe } });
    const slot: Slot = { worker, ready: false, tasks: [] };
    let cause: Error | undefined;
    worker.on('message', (message: FromWorker) => {
      if ('ready' in message) {
        slot.ready = true;
        return;
      }
      const at = slot.tasks.findIndex(({ id }) => id === message.id);
      const [task] = slot.tasks.splice(at, 1);
      task!.resolve('pixels' in message ? { pixels: message.pixels } : { reason: message.reason });
    });
    worker.on('error', (error) => {
      cause = error as Error;
    });
    worker.on('exit', () => this.replace(index, slot, cause));
    return slot;
  }

  /** After a worker's death: its oldest image is given up, the others go to a new worker. */
  private replace(index: number, { ready, tasks }: Slot, cause: Error | undefined): void {
    if (this.closed) return;
    const why = cause?.message ?? 'it ended';
    if (!ready) {
      // Another one would not start either.
      this.broken = new Error(`An image worker (${this.module}) cannot start: ${why}`, { cause });
      for (const { reject } of tasks) reject(this.broken);
      return;
    }
    const [lost, ...others] = tasks;
    lost?.resolve({ reason: `${lost.place.relativePath}: the worker died on it (${why})` });
    const slot = this.startSlot(index);
    this.slots[index] = slot;
    for (const task of others) tell(slot, task);
  }
}

function tell(slot: Slot, task: Task): void {
  slot.tasks.push(task);
  slot.worker.postMessage({ id: task.id, place: task.place } satisfies ToWorker);
}

/** Threads run JavaScript: from the sources, as tests do, the built module is taken. */
const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/data/image-worker.js' : './image-worker.js',
  import.meta.url,
);
