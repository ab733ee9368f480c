// A CUDA graph: a step recorded once and started again with one call, without the host's cost of each operation. It works
// on the addresses it was recorded with: new input is copied into the old tensors, results appear in the old tensors.
// https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs

import { scope } from '../scope.ts';
import { guarded } from '../tensor.ts';
import { cudaSynchronize, currentDevice } from './device.ts';
import { requireCuda } from './require-cuda.ts';
import { CudaStream } from './stream.ts';

export interface CaptureOptions {
  /** Runs before the recording; default: 3. */
  warmUps?: number;
  /**
   * Another graph, whose memory this one works in too. Safe where the two are never replayed at the same time and neither
   * leaves in it what is read after the other has run: results that a replay overwrites are such things.
   */
  memoryOf?: CudaGraph<unknown> | undefined;
}

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
   *
   * After a body that failed while it was recorded libtorch's allocator and generators may be left in an unfinished
   * recording: what needs the device after that belongs into another process.
   */
  static capture<T>(body: () => T, options: CaptureOptions = {}): CudaGraph<T> {
    const native = requireCuda('CudaGraph.capture');
    const { warmUps = 3, memoryOf } = options;
    const device = currentDevice();
    const stream = captureStream(device);
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
        guarded('CudaGraph.capture', () =>
          native.graphBegin(handle, memoryOf === undefined ? undefined : memoryOf.#handle),
        );
        let made: T;
        try {
          made = body();
        } catch (error) {
          endFailedCapture(() => native.graphEnd(handle));
          throw error;
        }
        guarded('CudaGraph.capture', () => native.graphEnd(handle));
        return made;
      });
      cudaSynchronize(device);
      return new CudaGraph(handle, result);
    } catch (error) {
      native.graphClose(handle);
      throw error;
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

const STREAMS = new Map<number, CudaStream>();

/** One stream a device for all recordings: cuBLAS keeps a workspace (32 MiB on Hopper) for every stream that it has seen. */
function captureStream(device: number): CudaStream {
  let stream = STREAMS.get(device);
  if (stream === undefined) {
    stream = new CudaStream({ device });
    STREAMS.set(device, stream);
  }
  return stream;
}

/** A stream that keeps recording refuses everything that follows. What this says is a consequence, not the cause. */
function endFailedCapture(end: () => void): void {
  try {
    end();
  } catch {
    // The caller throws the cause.
  }
}
