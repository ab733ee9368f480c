// @tessera/torch: libtorch for TypeScript.

export { enableGrad, type GradientsOptions, gradients, isGradEnabled, noGrad } from './autograd.ts';
export { fromBytes, fromTypedArray, type NestedNumbers, tensor } from './create.ts';
export { type Argument, type DispatchEvent, type Listener, listen, type Operation, type Result } from './dispatch.ts';
export { type DType, isDType, type TypedArray } from './dtype.ts';
export { TensorError, type TensorErrorCode } from './errors.ts';
export * from './generated/operations.ts';
export { linearRows, linearRowsInt8, quantizeRows } from './linear-rows.ts';
export { AddonError, type AddonErrorCode } from './native/locate-addon.ts';
export { exponentialNoise, gumbelNoise, type NoiseKey } from './noise.ts';
export { cudaDeviceCount, getNumThreads, manualSeed, setNumThreads, torchVersion } from './runtime.ts';
export { keep, type MemoryStats, memoryStats, scope } from './scope.ts';
export { type BackwardOptions, Tensor } from './tensor.ts';
export { fromTorchTensor, type LoadedTensors, loadSafetensors, saveSafetensors } from './tensor-files.ts';
