// Data-parallel gradients. libtorch's own Reducer, the engine of DistributedDataParallel, gathers gradients in buckets and
// starts each bucket's all-reduce as soon as it is full, while the backward pass goes on; afterwards every rank's `grad`
// holds the mean over the ranks. Li et al., "PyTorch Distributed", 2020, sections 3.2 and 4.2.

import { addon } from '../native/addon.ts';
import { scope } from '../scope.ts';
import { guarded, Tensor } from '../tensor.ts';
import { DistributedError } from './distributed-error.ts';
import type { ProcessGroup } from './process-group.ts';

export interface ReducerOptions {
  /**
   * Whether some parameters may get no gradient in a step, on some or on all ranks. They are found by walking the graph
   * from the outputs, which costs a little; one that no rank has used keeps its old `grad`. Default: false.
   */
  findUnusedParameters?: boolean;
  /** Bytes of a bucket, and of the first one, which should start early. Defaults: 25 MiB, 1 MiB. */
  bucketBytes?: number;
  firstBucketBytes?: number;
}

const MEBIBYTE = 2 ** 20;

export class DataParallelReducer {
  readonly #group: ProcessGroup;
  readonly #handle: number;
  #isSynchronising = true;

  /** Parameters: leaves that want gradients, the same on all ranks; the reducer hooks itself into their gradients. */
  constructor(group: ProcessGroup, parameters: readonly Tensor[], options: ReducerOptions = {}) {
    const { findUnusedParameters = false, bucketBytes = 25 * MEBIBYTE, firstBucketBytes = MEBIBYTE } = options;
    if (parameters.length === 0 || !parameters.every((p) => p instanceof Tensor && p.requiresGrad)) {
      throw refused('expected parameters that want gradients: at least one, each with requiresGrad');
    }
    if (
      !(Number.isInteger(bucketBytes) && bucketBytes > 0 && Number.isInteger(firstBucketBytes) && firstBucketBytes > 0)
    ) {
      throw refused(`expected bucket sizes >= 1 byte, got ${bucketBytes} and ${firstBucketBytes}`);
    }
    this.#group = group;
    // Buckets of other sizes would be added up without a word.
    group.requireSame(
      'DataParallelReducer',
      'the parameters',
      parameters.map((p) => p.describe()),
    );
    this.#handle = guarded('DataParallelReducer', () =>
      addon().reducerOpen(
        ...([group.handle, parameters.map((p) => p.handle), bucketBytes, firstBucketBytes] as const),
        ...([findUnusedParameters, false] as const),
      ),
    );
  }

  /** Bytes of each bucket. They are put in the order of their gradients after the first step. */
  get bucketSizes(): number[] {
    return guarded('bucketSizes', () => addon().reducerBuckets(this.#handle));
  }

  /** Call between the forward and the backward pass, with what backward() starts from: gradients become means. */
  prepareForBackward(outputs: Tensor | readonly Tensor[]): void {
    if (!this.#isSynchronising) return;
    const list = outputs instanceof Tensor ? [outputs] : outputs;
    const handles = list.map((tensor) => tensor.handle);
    this.#group.watched('prepareForBackward', () =>
      guarded('prepareForBackward', () => addon().reducerPrepare(this.#handle, handles)),
    );
  }

  /** prepareForBackward and backward of a scalar; where that fails, the error names the rank that is the reason. */
  backward(loss: Tensor): void {
    this.prepareForBackward(loss);
    if (this.#isSynchronising) this.#group.watched('backward', () => loss.backward());
    else loss.backward();
  }

  /** Inside, backward passes add to this rank's own gradients only: for accumulation, all but the last pass. */
  noSync<T>(body: () => T): T {
    const before = this.#isSynchronising;
    this.#isSynchronising = false;
    try {
      return body();
    } finally {
      this.#isSynchronising = before;
    }
  }

  /** Takes the hooks off the parameters. */
  dispose(): void {
    addon().reducerClose(this.#handle);
  }
}

/** Overwrites tensors on all ranks with rank `root`'s: before training, parameters and buffers; all started at once. */
export function broadcastTensors(group: ProcessGroup, tensors: readonly Tensor[], root = 0): void {
  scope(() => {
    const works = tensors.map((tensor) => group.startBroadcast(tensor, root));
    for (const work of works) work.wait();
  });
}

function refused(problem: string): DistributedError {
  return new DistributedError('ARGUMENT', 'DataParallelReducer', problem);
}
