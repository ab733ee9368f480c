// A key-value store between the processes of a group: small values, set by one and read by all. c10d's TCPStore, which
// lives in rank 0 or in the launcher. Waiting polls, so that it never blocks the event loop or another use of the store.

import { setTimeout as sleep } from 'node:timers/promises';
import { addon } from '../native/addon.ts';
import { guarded } from '../tensor.ts';
import { DistributedError } from './distributed-error.ts';

/** Milliseconds between two looks, at first and at most. */
const FIRST_LOOK = 2;
const LONGEST_LOOK = 100;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class KeyValueStore {
  /** The native store. */
  readonly handle: number;
  readonly #timeoutMs: number;
  readonly #isReachable: () => boolean;
  #isLost = false;

  /** Not for users: a process group has one. `isReachable`: whether the store's machine answers, where it is another one. */
  constructor(handle: number, timeoutMs: number, isReachable: () => boolean = () => true) {
    this.handle = handle;
    this.#timeoutMs = timeoutMs;
    this.#isReachable = isReachable;
  }

  /**
   * After a failure, before anything is read here: a cut connection would keep the reader waiting for a quarter of an hour.
   * Throws where the store's machine does not answer; then nothing here waits for it any more.
   */
  requireReachable(): void {
    this.#isLost ||= !this.#isReachable();
    if (this.#isLost) throw new Error('the machine of the store does not answer');
  }

  set(key: string, value: string | Uint8Array): void {
    const bytes = typeof value === 'string' ? encoder.encode(value) : value;
    this.#use('set', key, () => addon().storeSet(this.handle, key, bytes));
  }

  /** The value now, or undefined where nobody has set the key. */
  getBytes(key: string): Uint8Array | undefined {
    const buffer = this.#use('get', key, () => addon().storeGet(this.handle, key));
    return buffer === undefined ? undefined : new Uint8Array(buffer);
  }

  /** As getBytes, as UTF-8. */
  get(key: string): string | undefined {
    const bytes = this.getBytes(key);
    return bytes === undefined ? undefined : decoder.decode(bytes);
  }

  /** Adds to an integer, which starts at 0, and returns the sum: a counter, or a draw of numbers. */
  add(key: string, amount: number): number {
    return this.#use('add', key, () => addon().storeAdd(this.handle, key, amount));
  }

  /** Whether the key was there. */
  delete(key: string): boolean {
    return this.#use('delete', key, () => addon().storeDelete(this.handle, key));
  }

  /** Resolves with the value once somebody has set the key; rejects after the timeout. */
  async wait(key: string, options: { timeoutMs?: number } = {}): Promise<Uint8Array> {
    const { timeoutMs = this.#timeoutMs } = options;
    const value = await pollUntil(() => this.getBytes(key), timeoutMs);
    if (value !== undefined) return value;
    const problem = `nobody has set the key "${key}" within ${timeoutMs / 1000} s`;
    throw new DistributedError('RANK_MISSING', 'store.wait', problem);
  }

  #use<T>(what: string, key: string, body: () => T): T {
    try {
      if (this.#isLost) throw new Error('the machine of the store does not answer');
      return guarded('store', body);
    } catch (cause) {
      const problem = `the store of the process group does not answer (key "${key}"); its holder, rank 0 or the launcher, has ended`;
      throw new DistributedError('COMMUNICATION', `store.${what}`, problem, { cause });
    }
  }
}

/** Looks until there is something, ever less often; undefined after the timeout. */
export async function pollUntil<T>(look: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
  const end = performance.now() + timeoutMs;
  for (let pause = FIRST_LOOK; ; pause = Math.min(2 * pause, LONGEST_LOOK)) {
    const found = look();
    if (found !== undefined) return found;
    const left = end - performance.now();
    if (left <= 0) return undefined;
    await sleep(Math.min(pause, left));
  }
}
