/** Work that tells events while it runs, as a generator of those events: told ones come out while the promise is waited for. */

import type { PipelineEvent } from './events.ts';

export class ToldEvents {
  private readonly waiting: PipelineEvent[] = [];
  private wake = (): void => {};

  readonly tell = (event: PipelineEvent): void => {
    this.waiting.push(event);
    this.wake();
  };

  /** Yields what is told until the work is done; returns or throws what it does. */
  async *during<T>(work: Promise<T>): AsyncGenerator<PipelineEvent, T> {
    let running = true;
    const end = (): void => {
      running = false;
      this.wake();
    };
    work.then(end, end);
    while (running) {
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      yield* this.waiting.splice(0);
      if (running && this.waiting.length === 0) await woken;
    }
    yield* this.waiting.splice(0);
    return await work;
  }
}
