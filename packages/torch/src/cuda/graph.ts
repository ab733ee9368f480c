// A CUDA graph: a step recorded once and started again with one call, without the host's cost of each operation. It works
// on the addresses it was recorded with: new input is copied into the old tensors, results appear in the old tensors.
// https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs

import { scope } from '../scope.ts';
import { guarded } from '../tensor.ts';
import { cudaSynchronize, currentDevice } from './device.ts';
import { requireCuda } from './require-cuda.ts';
import { CudaStream } from './stream.ts';

export class CudaGraph<T> {
  readonly #handle: number;
  /** What the recorded body returned; its tensors are overwritten by each replay. */
  readonly result: T;

  private constructor(handle: number, result: T) {
    this.#handle = handle;
    this.result = result;
  }

  /**
   * Runs `body` a few times to let libraries choose their algorithms, then records it. The body must not look at values
   * (item, toNumbers), branch on them, or make tensors on the CPU; call it outside scopes that end before the graph does.
   */
  static capture<T>(body: () => T, options: { warmUps?: number } = {}): CudaGraph<T> {
    const native = requireCuda('CudaGraph.capture');
    const { warmUps = 3 } = options;
    const device = currentDevice();
    const stream = new CudaStream({ device });
    const handle = guarded('CudaGraph.capture', () => native.graphOpen());
    try {
      cudaSynchronize(device);
      stream.run(() => {
        for (let k = 0; k < warmUps; k++) {
          scope(() => {
            body();
          });
        }
      });
      cudaSynchronize(device);
      const result = stream.run(() => {
        guarded('CudaGraph.capture', () => native.graphBegin(handle));
        try {
          return body();
        } finally {
          // Also after an error: a stream that keeps recording refuses everything that follows.
          guarded('CudaGraph.capture', () => native.graphEnd(handle));
        }
      });
      cudaSynchronize(device);
      return new CudaGraph(handle, result);
    } catch (error) {
      native.graphClose(handle);
      throw error;
    } finally {
      stream.dispose();
    }
  }

  /** Starts the recorded work on the current stream and returns its result's tensors, which then hold new values. */
  replay(): T {
    guarded('CudaGraph.replay', () => requireCuda('CudaGraph').graphReplay(this.#handle));
    return this.result;
  }

  /** Frees the graph and its private memory; the result's tensors must not be used afterwards. */
  dispose(): void {
    requireCuda('CudaGraph').graphClose(this.#handle);
  }
}
