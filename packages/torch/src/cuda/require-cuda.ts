// One clear error for everything that needs a GPU where there is none.

import { TensorError } from '../errors.ts';
import { addon } from '../native/addon.ts';
import type { CudaAddon } from '../native/cuda-addon.ts';

/** The CUDA part of the addon; throws NO_CUDA where the addon or the machine has none. */
export function requireCuda(operation: string): CudaAddon {
  const native = addon();
  if (!native.hasCudaBuild()) {
    throw new TensorError(
      'NO_CUDA',
      `${operation}: needs CUDA, but the addon was built against a libtorch for the CPU: install a CUDA build of torch for python3 and run "npm run setup" again (docs/setup.md)`,
      { operation },
    );
  }
  if (native.cudaDeviceCount() === 0) {
    throw new TensorError(
      'NO_CUDA',
      `${operation}: needs CUDA, but libtorch finds no device: look at nvidia-smi and CUDA_VISIBLE_DEVICES`,
      { operation },
    );
  }
  return native as unknown as CudaAddon;
}
