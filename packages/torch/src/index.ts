// @tessera/torch: libtorch for TypeScript.

export { attendRows } from './attend-rows.ts';
export { attendTokens } from './attend-tokens.ts';
// CUDA, 16-bit numbers.
export { type AutocastOptions, autocast, isAutocastEnabled } from './autocast.ts';
export { enableGrad, type GradientsOptions, gradients, isGradEnabled, noGrad } from './autograd.ts';
export { fromBytes, fromTypedArray, type NestedNumbers, tensor } from './create.ts';
export {
  type CudaDeviceProperties,
  type CudaMemoryStats,
  cudaIsAvailable,
  cudaMemoryStats,
  cudaSynchronize,
  currentDevice,
  deviceProperties,
  emptyCache,
  isPinned,
  pinMemory,
  resetPeakMemory,
  setDevice,
  toAsync,
} from './cuda/device.ts';
export { type CaptureOptions, CudaGraph } from './cuda/graph.ts';
export { CudaEvent, CudaStream } from './cuda/stream.ts';
export { type Argument, type DispatchEvent, type Listener, listen, type Operation, type Result } from './dispatch.ts';
// Processes.
export { DistributedError, type DistributedErrorCode } from './distributed/distributed-error.ts';
export { hasLauncherEnvironment, type ProcessGroupAddress } from './distributed/environment.ts';
export { allGatherObject, broadcastObject } from './distributed/objects.ts';
export type {
  CollectiveOptions,
  OutputOption,
  ProcessGroup,
  ReduceOptions,
  Reduction,
} from './distributed/process-group.ts';
export { broadcastTensors, DataParallelReducer, type ReducerOptions } from './distributed/reducer.ts';
export type { KeyValueStore } from './distributed/store.ts';
export type { Work } from './distributed/work.ts';
export {
  destroyProcessGroup,
  initProcessGroup,
  isDistributed,
  newGroup,
  type ProcessGroupOptions,
  processGroup,
} from './distributed/world.ts';
export { drawRows, type RowsToDraw } from './draw-rows.ts';
export { type DType, isDType, type TypedArray } from './dtype.ts';
export { TensorError, type TensorErrorCode } from './errors.ts';
export { geluInPlace } from './gelu-in-place.ts';
export * from './generated/operations.ts';
export { GradScaler, type GradScalerOptions, type GradScalerState } from './grad-scaler.ts';
export type { Index, Slice, SliceText } from './indexing.ts';
export { linearInt8, packInt8 } from './linear-int8.ts';
export { gatedRows, linearRows, quantizeRows, type RowWeight } from './linear-rows.ts';
export { linearTiles } from './linear-tiles.ts';
export { formatLiveTensors, type LiveTensor, listLiveTensors, traceMemory } from './memory-trace.ts';
export { AddonError, type AddonErrorCode } from './native/locate-addon.ts';
export { exponentialNoise, gumbelNoise, type NoiseAddress, type NoiseKey } from './noise.ts';
export { gateRows, modulateRows, normRows, turnRows } from './norm-rows.ts';
export {
  float32Precision,
  isDeterministic,
  setCudnnBenchmark,
  setDeterministic,
  setFloat32Precision,
} from './precision.ts';
export { countMacs, macsOf } from './profile/macs.ts';
export { type OperationTotals, Profile, type ProfileOptions, type ProfileSummary } from './profile/profile.ts';
export type { Sizes } from './recorder/affine.ts';
export { type Recording, recordOnnx } from './recorder/record-onnx.ts';
export { RecorderError, type RecorderErrorCode } from './recorder/recorder-error.ts';
export type { NamedTensors } from './recorder/trace.ts';
export { cudaDeviceCount, getNumThreads, manualSeed, setNumThreads, torchVersion } from './runtime.ts';
export { keep, type MemoryStats, memoryStats, scope } from './scope.ts';
export { type BackwardOptions, type Device, swapTensors, Tensor } from './tensor.ts';
export { fromTorchTensor, type LoadedTensors, loadSafetensors, saveSafetensors } from './tensor-files.ts';
