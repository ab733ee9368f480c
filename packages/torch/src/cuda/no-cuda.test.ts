/** Without CUDA each function that needs it throws one clear error; with it, none of them does. */

import { describe, expect, it } from 'vitest';
import * as T from '../index.ts';

const hasCuda = T.cudaIsAvailable();

describe('what needs CUDA', () => {
  const uses: Record<string, () => unknown> = {
    setDevice: () => T.setDevice(0),
    currentDevice: () => T.currentDevice(),
    deviceProperties: () => T.deviceProperties(0),
    cudaSynchronize: () => T.cudaSynchronize(0),
    cudaMemoryStats: () => T.cudaMemoryStats(0),
    resetPeakMemory: () => T.resetPeakMemory(0),
    pinMemory: () => T.pinMemory(T.ones([2])),
    toAsync: () => T.toAsync(T.ones([2]), 'cuda:0'),
    CudaStream: () => new T.CudaStream(),
    CudaEvent: () => new T.CudaEvent(),
    'CudaGraph.capture': () => T.CudaGraph.capture(() => 0),
  };

  it.each(Object.entries(uses))('%s is one line with the code NO_CUDA', (name, use) => {
    if (hasCuda) return expect(() => T.scope(() => void use())).not.toThrow();
    expect(use).toThrow(expect.objectContaining({ code: 'NO_CUDA', operation: name }));
    expect(use).toThrow(new RegExp(`^${name}: needs CUDA, but [^\\n]*(npm run setup|nvidia-smi)[^\\n]*$`));
  });

  it('the questions are answered, and what concerns the host works', () => {
    T.scope(() => {
      expect(T.cudaDeviceCount() > 0).toBe(hasCuda);
      expect(T.isPinned(T.ones([2]))).toBe(false);
      expect(T.toAsync(T.tensor([1, 2]), 'cpu').toNumbers()).toEqual([1, 2]);
      T.emptyCache();
    });
  });
});
