// Streams and events: queues of work on one device, and marks in them. Work on different streams runs side by side; a
// tensor made on one and used on another needs an event between them, and recordStream so that it is not freed too early.

import { TensorError } from '../errors.ts';
import { guarded, type Tensor } from '../tensor.ts';
import { currentDevice } from './device.ts';
import { requireCuda } from './require-cuda.ts';

export class CudaStream {
  /** The native stream. */
  readonly handle: number;

  constructor(options: { device?: number; highPriority?: boolean } = {}) {
    const native = requireCuda('CudaStream');
    const { device = currentDevice(), highPriority = false } = options;
    this.handle = guarded('CudaStream', () => native.streamOpen(device, highPriority));
  }

  /** Runs `body`, which must be synchronous, with this as its device's current stream. */
  run<T>(body: () => T): T {
    const native = requireCuda('CudaStream.run');
    const before = guarded('CudaStream.run', () => native.streamSwap(this.handle));
    try {
      const result = body();
      if (typeof (result as { then?: unknown } | undefined)?.then === 'function') {
        throw new TensorError(
          'SCOPE',
          'CudaStream.run: expected a synchronous function, got one that returns a promise',
        );
      }
      return result;
    } finally {
      // Swapping back makes another id for this stream.
      const self = native.streamSwap(before);
      native.streamClose(self);
      native.streamClose(before);
    }
  }

  /** Blocks the host until everything on this stream is done. */
  synchronize(): void {
    guarded('CudaStream.synchronize', () => requireCuda('CudaStream').streamSynchronize(this.handle));
  }

  /** What comes next on this stream waits for the event. */
  waitFor(event: CudaEvent): void {
    guarded('CudaStream.waitFor', () => requireCuda('CudaStream').eventWait(event.handle, this.handle));
  }

  /** Keeps the memory of a tensor of another stream until this one has come as far as now. */
  recordUse(tensor: Tensor): void {
    guarded('CudaStream.recordUse', () => requireCuda('CudaStream').recordStream(tensor.handle, this.handle), tensor);
  }

  dispose(): void {
    requireCuda('CudaStream').streamClose(this.handle);
  }
}

export class CudaEvent {
  /** The native event. */
  readonly handle: number;

  /** `timing`: whether it can measure; costs a little. Default: false. */
  constructor(options: { timing?: boolean } = {}) {
    const native = requireCuda('CudaEvent');
    this.handle = guarded('CudaEvent', () => native.eventOpen(options.timing ?? false));
  }

  /** Marks the present end of a stream; default: the current one. */
  record(stream?: CudaStream): void {
    guarded('CudaEvent.record', () => requireCuda('CudaEvent').eventRecord(this.handle, stream?.handle));
  }

  /** Whether the stream has passed the mark. */
  get isDone(): boolean {
    return guarded('CudaEvent.isDone', () => requireCuda('CudaEvent').eventIsDone(this.handle));
  }

  /** Blocks the host until the stream has passed the mark. */
  synchronize(): void {
    guarded('CudaEvent.synchronize', () => requireCuda('CudaEvent').eventSynchronize(this.handle));
  }

  /** Milliseconds on the device from this mark to a later one; both with `timing`, both passed. */
  elapsedMs(later: CudaEvent): number {
    return guarded('CudaEvent.elapsedMs', () => requireCuda('CudaEvent').eventElapsed(this.handle, later.handle));
  }

  dispose(): void {
    requireCuda('CudaEvent').eventClose(this.handle);
  }
}
