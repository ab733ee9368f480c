// What native/cuda.cpp and native/precision.cpp export. The functions of CudaAddon are missing in a CPU build.

export interface CudaAddon {
  cudaSetDevice(device: number): void;
  cudaCurrentDevice(): number;
  cudaDeviceName(device: number): string;
  /** [major, minor, total bytes, multiprocessors] */
  cudaDeviceNumbers(device: number): number[];
  cudaSynchronize(device: number): void;
  /** [allocated, peak, reserved, peak, free, total] in bytes */
  cudaMemory(device: number): number[];
  cudaResetPeakMemory(device: number): void;
  cudaEmptyCache(): void;
  streamOpen(device: number, isHighPriority: boolean): number;
  streamSwap(stream: number): number;
  streamSynchronize(stream: number): void;
  streamClose(stream: number): void;
  recordStream(tensor: number, stream: number): void;
  eventOpen(timing: boolean): number;
  eventRecord(event: number, stream?: number): void;
  eventWait(event: number, stream?: number): void;
  eventSynchronize(event: number): void;
  eventIsDone(event: number): boolean;
  eventElapsed(start: number, end: number): number;
  eventClose(event: number): void;
  graphOpen(): number;
  graphBegin(graph: number, poolOf?: number): void;
  graphEnd(graph: number): void;
  graphReplay(graph: number): void;
  graphClose(graph: number): void;
}

export interface PrecisionAddon {
  hasCudaBuild(): boolean;
  pinMemory(tensor: number): number;
  isPinned(tensor: number): boolean;
  toDeviceAsync(tensor: number, device: string): number;
  autocastIsEnabled(device: string): boolean;
  autocastDtype(device: string): string;
  autocastBegin(device: string, enabled: boolean, dtype: string): void;
  autocastEnd(device: string, enabledBefore: boolean, dtypeBefore: string): void;
  setTf32(allow: boolean): void;
  isTf32Allowed(): boolean;
  setDeterministic(flag: boolean, warnOnly: boolean): void;
  isDeterministic(): boolean;
  setCudnnBenchmark(flag: boolean): void;
  scalerUnscale(gradients: readonly number[], foundInf: number, inverse: number): void;
  scalerUpdate(
    scale: number,
    growthTracker: number,
    foundInf: number,
    growthFactor: number,
    backoffFactor: number,
    growthInterval: number,
  ): void;
}
