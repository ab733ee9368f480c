// A group of processes and its collectives, in PyTorch's terms: every rank of the group calls the same collectives in the
// same order. Tensors on the CPU go through Gloo, tensors on CUDA through NCCL. Each collective has two forms: `allReduce`
// blocks until the result is there, `startAllReduce` returns a Work to wait for.

import { isDeepStrictEqual } from 'node:util';
import { noGrad } from '../autograd.ts';
import { TensorError } from '../errors.ts';
import { empty } from '../generated/operations.ts';
import { addon } from '../native/addon.ts';
import { scope } from '../scope.ts';
import { guarded, Tensor } from '../tensor.ts';
import { DistributedError } from './distributed-error.ts';
import { explainFailure } from './roll-call.ts';
import type { KeyValueStore } from './store.ts';
import { Work } from './work.ts';

export type Reduction = 'sum' | 'avg' | 'max' | 'min' | 'product';

export interface CollectiveOptions {
  /** Default: the group's. */
  timeoutMs?: number;
}

export interface ReduceOptions extends CollectiveOptions {
  /** Default: sum. `avg` takes floating dtypes only. */
  reduction?: Reduction;
}

/** Of collectives with a result of another size than what goes in. */
export interface OutputOption {
  /** Where the result goes: contiguous, of its shape, dtype and device. Default: a new tensor of the current scope. */
  into?: Tensor;
}

/** What the process that makes a group knows of it. */
export interface GroupSetting {
  readonly handle: number;
  /** Unique among the groups of a world. */
  readonly name: string;
  /** Ranks of the world, in group order. */
  readonly ranks: readonly number[];
  /** This process's rank in the world. */
  readonly worldRank: number;
  readonly store: KeyValueStore;
  readonly timeoutMs: number;
  /** Keys of all signs of life, by rank of the world. */
  readonly signKey: (rank: number) => string;
  /** How long the others are given for a sign of life, once a collective has failed. */
  readonly windowMs: number;
  /** Compare every collective's name, dtype and shape between the ranks before it starts. */
  readonly checkCollectives: boolean;
}

const REDUCTIONS = new Set(['sum', 'avg', 'max', 'min', 'product']);
/** Milliseconds between two looks while collectives are compared. */
const LOOK = 1;
/** Characters of a failure that the other ranks are told. */
const LONGEST_NOTE = 400;

export class ProcessGroup {
  readonly #setting: GroupSetting;
  #isOpen = true;
  #compared = 0;

  /** Not for users: see initProcessGroup and newGroup. */
  constructor(setting: GroupSetting) {
    this.#setting = setting;
  }

  /** This process's place in the group, 0..size-1. */
  get rank(): number {
    return this.#setting.ranks.indexOf(this.#setting.worldRank);
  }

  get size(): number {
    return this.#setting.ranks.length;
  }

  /** The ranks of the world that are in this group, in group order. */
  get ranks(): readonly number[] {
    return this.#setting.ranks;
  }

  /** Shared by all processes of the world. */
  get store(): KeyValueStore {
    return this.#setting.store;
  }

  get timeoutMs(): number {
    return this.#setting.timeoutMs;
  }

  /** The native group, for the reducer. */
  get handle(): number {
    if (!this.#isOpen) throw new DistributedError('NO_GROUP', 'process group', 'this process group was destroyed');
    return this.#setting.handle;
  }

  /** Reduces in place over the ranks: afterwards every rank's tensor holds the same. Contiguous, any shape. */
  allReduce(tensor: Tensor, options: ReduceOptions = {}): Tensor {
    return this.startAllReduce(tensor, options).wait();
  }

  startAllReduce(tensor: Tensor, options: ReduceOptions = {}): Work<Tensor> {
    const reduction = checkedReduction('allReduce', tensor, options);
    return this.#start('allReduce', [tensor], tensor, options, { reduction, average: reduction === 'avg' });
  }

  /** Overwrites the tensor with rank `root`'s (a rank of this group). Contiguous, any shape. */
  broadcast(tensor: Tensor, root: number, options: CollectiveOptions = {}): Tensor {
    return this.startBroadcast(tensor, root, options).wait();
  }

  startBroadcast(tensor: Tensor, root: number, options: CollectiveOptions = {}): Work<Tensor> {
    checkTensor('broadcast', tensor);
    if (!Number.isInteger(root) || root < 0 || root >= this.size) {
      throw refused('broadcast', `expected a root in 0..${this.size - 1}, got ${root}`);
    }
    return this.#start('broadcast', [tensor], tensor, options, { root });
  }

  /** The ranks' tensors of equal shape [...] as one new tensor [size, ...], in rank order. */
  allGather(tensor: Tensor, options: CollectiveOptions & OutputOption = {}): Tensor {
    return this.startAllGather(tensor, options).wait();
  }

  startAllGather(tensor: Tensor, options: CollectiveOptions & OutputOption = {}): Work<Tensor> {
    checkTensor('allGather', tensor);
    const output = outputLike('allGather', tensor, [this.size, ...tensor.shape], options.into);
    return this.#start('allGather', [tensor, output], output, options);
  }

  /** Reduces tensors [size · n, ...] and gives each rank its n rows of the result: a new tensor [n, ...]. */
  reduceScatter(tensor: Tensor, options: ReduceOptions & OutputOption = {}): Tensor {
    return this.startReduceScatter(tensor, options).wait();
  }

  startReduceScatter(tensor: Tensor, options: ReduceOptions & OutputOption = {}): Work<Tensor> {
    const reduction = checkedReduction('reduceScatter', tensor, options);
    const [rows = 0, ...rest] = tensor.shape;
    if (tensor.shape.length === 0 || rows % this.size !== 0) {
      const expected = `expected a first dimension that ${this.size} ranks divide`;
      throw refused('reduceScatter', `${expected}, got ${tensor.describe()}`);
    }
    const output = outputLike('reduceScatter', tensor, [rows / this.size, ...rest], options.into);
    const average = reduction === 'avg';
    return this.#start('reduceScatter', [tensor, output], output, options, { reduction, average });
  }

  /** Returns once every rank has called it. */
  barrier(options: CollectiveOptions = {}): void {
    this.startBarrier(options).wait();
  }

  startBarrier(options: CollectiveOptions = {}): Work<void> {
    return this.#start('barrier', [], undefined, options);
  }

  /** Runs something native that talks to the other ranks, and explains its failure by their signs of life. */
  watched<T>(operation: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      const sequence = addon().groupSequence(this.handle);
      throw this.#explain(operation, operation, sequence, this.timeoutMs, error);
    }
  }

  /** Tells the others that this rank takes part in no further collective. */
  leave(): void {
    if (this.#isOpen) addon().groupNote(this.#setting.handle, 'left');
    this.#isOpen = false;
  }

  #start<T extends Tensor | undefined>(
    kind: string,
    tensors: readonly Tensor[],
    result: T,
    options: CollectiveOptions,
    how: { reduction?: Reduction; root?: number; average?: boolean } = {},
  ): Work<T> {
    const { timeoutMs = this.timeoutMs } = options;
    const { reduction = 'sum', root = 0, average = false } = how;
    const label = [kind, ...tensors.slice(0, 1).map((tensor) => tensor.describe())].join(' ');
    const native = addon();
    const { handle } = this;
    if (tensors.length === 1 && !tensors[0]!.isContiguous()) {
      throw refused(kind, `the tensor is a view in another order: call contiguous() first (${tensors[0]!.describe()})`);
    }
    if (this.#setting.checkCollectives) this.#compare(kind, `${label} ${reduction} ${root}`, timeoutMs);
    const [input, output] = tensors.map((tensor) => tensor.handle);
    let work: number;
    try {
      const over = average ? 'sum' : reduction;
      work = guarded(
        kind,
        () => native.collective(kind, handle, input, output, over, root, timeoutMs, label),
        ...tensors,
      );
    } catch (error) {
      // Arguments that c10d refuses show here; everything that concerns the other ranks shows in the work.
      throw error instanceof TensorError && error.code === 'DISPOSED' ? error : refused(kind, messageOf(error), error);
    }
    const finish = () => {
      if (average) scope(() => noGrad(() => void result!.div_(this.size)));
      return result;
    };
    const polled = tensors[0] === undefined ? false : tensors[0].device !== 'cpu';
    const sequence = native.groupSequence(handle);
    return new Work<T>(work, polled, finish, (error) => this.#explain(kind, label, sequence, timeoutMs, error));
  }

  #explain(operation: string, label: string, sequence: number, timeoutMs: number, error: unknown): Error {
    const { store, signKey, ranks, worldRank, windowMs, name } = this.#setting;
    const native = addon();
    let signs: string[];
    try {
      store.requireReachable();
      signs = native.rollCall(store.handle, ranks.map(signKey), windowMs);
    } catch (cause) {
      const problem = `collective ${sequence} (${label}) failed on rank ${worldRank}, and the store of the process group does not answer: its holder, rank 0 or the launcher, has ended or cannot be reached`;
      return new DistributedError('RANK_GONE', operation, problem, { ranks: worldRank === 0 ? [] : [0], cause });
    }
    const failure = explainFailure({
      ...{ operation, group: name, ranks, rank: worldRank, sequence, label, signs, windowMs, timeoutMs },
      cause: error,
    });
    // One line of the sign, and no novel where the failures of many ranks quote one another.
    const told = failure.message.replace(/\s*\n\s*/g, ' ').slice(0, LONGEST_NOTE);
    native.groupNote(this.handle, `failed: ${told}`);
    return failure;
  }

  /** Every rank writes what it is about to do and reads what the others are: for finding mistakes, since it costs time. */
  #compare(kind: string, signature: string, timeoutMs: number): void {
    const { store, name, ranks, worldRank } = this.#setting;
    const sequence = ++this.#compared;
    const key = (rank: number) => `compare/${name}/${sequence}/${rank}`;
    store.set(key(worldRank), signature);
    const end = performance.now() + timeoutMs;
    const others = new Map<number, string>();
    while (others.size < ranks.length) {
      for (const rank of ranks) {
        const other = others.has(rank) ? undefined : store.get(key(rank));
        if (other !== undefined) others.set(rank, other);
      }
      if (others.size === ranks.length) break;
      if (performance.now() > end) throw this.#explain(kind, signature, sequence, timeoutMs, new Error('timed out'));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK);
    }
    const different = ranks.filter((rank) => others.get(rank) !== signature);
    if (different.length > 0) {
      const list = different.map((rank) => `rank ${rank} has ${others.get(rank)}`).join('; ');
      const problem = `the ranks do not agree on collective ${sequence}: here (rank ${worldRank}) ${signature}; ${list}`;
      throw new DistributedError('RANKS_DISAGREE', kind, problem, { ranks: different });
    }
  }

  /** Throws unless all ranks of the group have the same JSON value here. Blocks. */
  requireSame(operation: string, what: string, value: unknown): void {
    const { store, name, ranks, worldRank, timeoutMs } = this.#setting;
    const turn = addon().groupSequence(this.handle);
    const key = (rank: number) => `same/${name}/${operation}/${turn}/${rank}`;
    store.set(key(worldRank), JSON.stringify(value));
    // The store does not answer a set; an answer on the same connection comes after it, so that all see it behind the barrier.
    store.get(key(worldRank));
    this.barrier({ timeoutMs });
    const different = ranks.filter((rank) => !isDeepStrictEqual(JSON.parse(store.get(key(rank))!), value));
    this.barrier({ timeoutMs });
    store.delete(key(worldRank));
    if (different.length > 0) {
      const problem = `${what} differ from those of rank ${worldRank} on rank ${different.join(', ')}`;
      throw new DistributedError('RANKS_DISAGREE', operation, problem, { ranks: different });
    }
  }
}

function outputLike(operation: string, input: Tensor, shape: readonly number[], into: Tensor | undefined): Tensor {
  const { dtype, device } = input;
  if (into === undefined) return empty(shape, { dtype, device });
  if (into.dtype === dtype && into.device === device && `${into.shape}` === `${shape}` && into.isContiguous())
    return into;
  const expected = `expected a contiguous ${dtype} [${shape.join(', ')}] on ${device} for the result`;
  throw refused(operation, `${expected}, got ${into.describe()}`);
}

function checkTensor(operation: string, tensor: Tensor): void {
  if (!(tensor instanceof Tensor)) throw refused(operation, `expected a tensor, got ${typeof tensor}`);
}

function checkedReduction(operation: string, tensor: Tensor, { reduction = 'sum' }: ReduceOptions): Reduction {
  checkTensor(operation, tensor);
  if (!REDUCTIONS.has(reduction)) {
    throw refused(operation, `expected a reduction of ${[...REDUCTIONS].join(', ')}, got "${reduction}"`);
  }
  if (reduction === 'avg' && !/float/.test(tensor.dtype)) {
    throw refused(operation, `avg expected a floating dtype, got ${tensor.describe()}: use sum`);
  }
  return reduction;
}

function refused(operation: string, problem: string, cause?: unknown): DistributedError {
  const options = cause === undefined ? {} : { cause };
  return new DistributedError('ARGUMENT', operation, problem.replace(`${operation}: `, ''), options);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
