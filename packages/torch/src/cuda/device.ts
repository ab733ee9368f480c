// CUDA devices: which there are, which is current, and what their memory is used for.

import { wrap } from '../dispatch.ts';
import { addon } from '../native/addon.ts';
import { guarded, type Tensor } from '../tensor.ts';
import { requireCuda } from './require-cuda.ts';

export interface CudaDeviceProperties {
  readonly name: string;
  /** Compute capability, such as [9, 0]. */
  readonly capability: readonly [number, number];
  readonly totalBytes: number;
  readonly multiprocessors: number;
}

/** Bytes on one device. */
export interface CudaMemoryStats {
  /** Held by tensors. */
  readonly allocated: number;
  readonly peakAllocated: number;
  /** Held by libtorch's cache, tensors included. */
  readonly reserved: number;
  readonly peakReserved: number;
  /** Of the device, seen by all processes. */
  readonly free: number;
  readonly total: number;
}

/** Whether the addon was built with CUDA and finds a device. */
export function cudaIsAvailable(): boolean {
  return addon().hasCudaBuild() && addon().cudaDeviceCount() > 0;
}

/** Makes device `index` the one that `cuda` without a number means on this thread. */
export function setDevice(index: number): void {
  const native = requireCuda('setDevice');
  guarded('setDevice', () => native.cudaSetDevice(index));
}

export function currentDevice(): number {
  const native = requireCuda('currentDevice');
  return guarded('currentDevice', () => native.cudaCurrentDevice());
}

export function deviceProperties(index: number = currentDevice()): CudaDeviceProperties {
  const native = requireCuda('deviceProperties');
  return guarded('deviceProperties', () => {
    const [major, minor, totalBytes, multiprocessors] = native.cudaDeviceNumbers(index);
    return {
      name: native.cudaDeviceName(index),
      capability: [major!, minor!],
      totalBytes: totalBytes!,
      multiprocessors: multiprocessors!,
    };
  });
}

/** Waits until everything that was started on the device is done: before reading a clock. */
export function cudaSynchronize(index: number = currentDevice()): void {
  const native = requireCuda('cudaSynchronize');
  guarded('cudaSynchronize', () => native.cudaSynchronize(index));
}

export function cudaMemoryStats(index: number = currentDevice()): CudaMemoryStats {
  const native = requireCuda('cudaMemoryStats');
  const bytes = guarded('cudaMemoryStats', () => native.cudaMemory(index));
  const [allocated, peakAllocated, reserved, peakReserved, free, total] = bytes as [
    ...[number, number, number, number, number, number],
  ];
  return { allocated, peakAllocated, reserved, peakReserved, free, total };
}

/** The peaks start again from what is held now. */
export function resetPeakMemory(index: number = currentDevice()): void {
  const native = requireCuda('resetPeakMemory');
  guarded('resetPeakMemory', () => native.cudaResetPeakMemory(index));
}

/** Gives the cache's unused memory back to the device. Does nothing without CUDA. */
export function emptyCache(): void {
  if (cudaIsAvailable()) requireCuda('emptyCache').cudaEmptyCache();
}

/** A copy in page-locked host memory, from which `toAsync` does not make the host wait. */
export function pinMemory(tensor: Tensor): Tensor {
  requireCuda('pinMemory');
  return guarded('pinMemory', () => wrap(addon().pinMemory(tensor.handle)), tensor);
}

export function isPinned(tensor: Tensor): boolean {
  return guarded('isPinned', () => addon().isPinned(tensor.handle), tensor);
}

/**
 * As `to(device)`, but returns while a copy from or to pinned memory is under way. Work on the device's stream comes after
 * it by itself; before the host reads such a copy, synchronize. On the CPU it is `to`.
 */
export function toAsync(tensor: Tensor, device: `cuda:${number}` | 'cuda' | 'cpu'): Tensor {
  if (device !== 'cpu') requireCuda('toAsync');
  return guarded('toAsync', () => wrap(addon().toDeviceAsync(tensor.handle, device)), tensor);
}
