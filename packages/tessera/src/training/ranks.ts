/**
 * The processes of one run as the training loop sees them: which shards are mine, what do all of us agree on. One process
 * alone is the same thing with nobody to ask. What is decided by one rank (a checkpoint to go on from, a file that was
 * written) is told to all, failures too, so that no rank waits for another that has already given up.
 */

import { createHash } from 'node:crypto';
import {
  allGatherObject,
  broadcastObject,
  broadcastTensors,
  noGrad,
  type ProcessGroup,
  scope,
  type Tensor,
  tensor,
} from '@tessera/torch';
import { TrainingError, type TrainingErrorCode } from './training-error.ts';

/** An error as another rank hears of it. */
interface Told {
  code: string;
  message: string;
}

export class Ranks {
  /** Undefined for one process alone. */
  readonly group: ProcessGroup | undefined;
  readonly rank: number;
  readonly size: number;

  constructor(group?: ProcessGroup) {
    this.group = group;
    this.rank = group?.rank ?? 0;
    this.size = group?.size ?? 1;
  }

  /** Whether this is the rank that writes files. */
  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** The shards of a step that this rank runs: those whose index is its own modulo the number of ranks (design rule 4). */
  shardsOf(numShards: number): number[] {
    if (numShards < this.size) {
      throw new TrainingError(
        'RANKS',
        `Expected at least one shard a step for each of ${this.size} ranks, got ${numShards}: give smaller shards ` +
          '(--shard-size), a larger batch, or fewer ranks.',
      );
    }
    const shards: number[] = [];
    for (let index = this.rank; index < numShards; index += this.size) shards.push(index);
    return shards;
  }

  /** Sums over the ranks; blocks. */
  sum(values: readonly number[]): number[] {
    if (this.group === undefined) return [...values];
    return noGrad(() => scope(() => this.group!.allReduce(tensor([...values], 'float64')).toNumbers()));
  }

  /** Adds up a tensor over the ranks, in place; blocks. */
  addUp(values: Tensor): Tensor {
    return this.group === undefined ? values : noGrad(() => this.group!.allReduce(values));
  }

  /** Runs `body` on the first rank alone. Every rank gets what it returns, as JSON, or its error. */
  async decide<T>(body: () => T): Promise<T> {
    if (this.group === undefined) return body();
    if (!this.isFirst) {
      const told = await broadcastObject<{ value?: T; error?: Told }>(this.group, undefined);
      if (told.error !== undefined) throw heard(0, told.error);
      return told.value as T;
    }
    let value: T;
    try {
      value = body();
    } catch (error) {
      await broadcastObject(this.group, { error: tell(error) });
      throw error;
    }
    await broadcastObject(this.group, { value });
    return value;
  }

  /** Runs `body` on every rank; where it fails on one, it fails on all. */
  async together<T>(body: () => T): Promise<T> {
    if (this.group === undefined) return body();
    let own: unknown;
    let value: T | undefined;
    try {
      value = body();
    } catch (error) {
      own = error;
    }
    const all = await allGatherObject(this.group, own === undefined ? null : tell(own));
    if (own !== undefined) throw own;
    const failed = all.findIndex((told) => told !== null);
    if (failed !== -1) throw heard(failed, all[failed]!);
    return value as T;
  }

  /** Every rank's value, as JSON, in rank order. */
  async all<T>(value: T): Promise<T[]> {
    return this.group === undefined ? [value] : allGatherObject(this.group, value);
  }

  /** Overwrites tensors with the first rank's. */
  copyFromFirst(tensors: readonly Tensor[]): void {
    if (this.group !== undefined && tensors.length > 0) noGrad(() => broadcastTensors(this.group!, tensors));
  }

  /** Throws unless every rank gives the same text. */
  async requireSame(what: string, text: string): Promise<void> {
    const all = await this.all(text);
    const others = all.flatMap((other, rank) => (other === all[0] ? [] : [rank]));
    if (others.length === 0) return;
    throw new TrainingError(
      'RANKS',
      `Expected the same ${what} on all ranks, got others than rank 0's on rank ${others.join(', ')}: start every ` +
        'process with the same command, program and data.',
    );
  }

  /** Throws unless these tensors hold the same bits on every rank. */
  async requireSameTensors(what: string, tensors: readonly Tensor[]): Promise<void> {
    if (this.group === undefined) return;
    const hash = createHash('sha256');
    for (const one of tensors) hash.update(scope(() => one.detach().toBytes()));
    await this.requireSame(what, hash.digest('hex'));
  }
}

function tell(error: unknown): Told {
  const { code = 'RANKS', message = String(error) } = error as Partial<Told>;
  return { code: String(code), message };
}

function heard(rank: number, { code, message }: Told): TrainingError {
  return new TrainingError(code as TrainingErrorCode, `Rank ${rank} has failed: ${message}`);
}
