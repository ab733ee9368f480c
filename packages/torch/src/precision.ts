// Switches of the whole process: how exact float32 products are on CUDA, and whether runs repeat to the last bit.

import { addon } from './native/addon.ts';
import { guarded } from './tensor.ts';

/** `tf32`: products and convolutions of float32 tensors on CUDA keep 10 bits of mantissa. Default: `ieee`, all 23. */
export function setFloat32Precision(precision: 'ieee' | 'tf32'): void {
  guarded('setFloat32Precision', () => addon().setTf32(precision === 'tf32'));
}

export function float32Precision(): 'ieee' | 'tf32' {
  return guarded('float32Precision', () => addon().isTf32Allowed()) ? 'tf32' : 'ieee';
}

/**
 * Only algorithms that give the same bits each time; an operation that has none throws (or, with `warnOnly`, runs). On
 * CUDA, set the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8 too, before the process starts.
 */
export function setDeterministic(flag: boolean, options: { warnOnly?: boolean } = {}): void {
  guarded('setDeterministic', () => addon().setDeterministic(flag, options.warnOnly ?? false));
}

export function isDeterministic(): boolean {
  return addon().isDeterministic();
}

/** Lets cuDNN measure which algorithm is fastest for each new shape: for fixed shapes, and not bit-reproducible. */
export function setCudnnBenchmark(flag: boolean): void {
  guarded('setCudnnBenchmark', () => addon().setCudnnBenchmark(flag));
}
