// Threads, seeds and versions of the engine.

import { addon } from './native/addon.ts';
import { guarded } from './tensor.ts';

/**
 * Threads of one operation, on every thread of the process that runs tensors: workers that run already take it over at
 * their next call. Results depend on it in the last bits.
 */
export function setNumThreads(count: number): void {
  guarded('setNumThreads', () => addon().setNumThreads(count));
}

export function getNumThreads(): number {
  return addon().getNumThreads();
}

/** Seeds libtorch's own generators, which serve dropout and initialisation only (design rule 3). */
export function manualSeed(seed: number): void {
  guarded('manualSeed', () => addon().manualSeed(seed));
}

/** Such as `2.13.0`. */
export function torchVersion(): string {
  return addon().torchVersion();
}

/** 0 when libtorch was built without CUDA or finds no device. */
export function cudaDeviceCount(): number {
  return addon().cudaDeviceCount();
}
