// The native addon, loaded on first use.

import { createRequire } from 'node:module';
import { TensorError } from '../errors.ts';
import type { CudaAddon, PrecisionAddon } from './cuda-addon.ts';
import type { DistributedAddon } from './distributed-addon.ts';
import { locateAddon } from './locate-addon.ts';

/** What native/*.cpp export; tensors are handles. */
export interface Addon extends DistributedAddon, PrecisionAddon, Partial<CudaAddon> {
  readonly operations: readonly ((...args: unknown[]) => unknown)[];
  fromBytes(data: ArrayBufferView | ArrayBuffer, shape: readonly number[], dtype: string): number;
  mapFile(path: string, offsets: readonly number[], rows: readonly (readonly [readonly number[], string])[]): number[];
  toBytes(tensor: number): ArrayBuffer;
  item(tensor: number): number;
  shape(tensor: number): number[];
  dtype(tensor: number): string;
  device(tensor: number): string;
  numel(tensor: number): number;
  isLive(tensor: number): boolean;
  toDevice(tensor: number, device: string): number;
  strides(tensor: number): number[];
  isContiguous(tensor: number, memoryFormat: string): boolean;
  nbytes(tensor: number): number;
  viewBytes(tensor: number): ArrayBuffer;
  dispose(tensor: number): void;
  beginScope(): number;
  endScope(depth: number, survivors: readonly number[]): void;
  keep(tensor: number): void;
  liveTensors(): number;
  liveBytes(): Record<string, number>;
  liveHandles(): number[];
  backward(
    tensor: number,
    gradient: number | undefined,
    retainGraph: boolean,
    createGraph: boolean,
    leaves?: readonly number[],
  ): void;
  gradients(
    outputs: readonly number[],
    inputs: readonly number[],
    gradOutputs: readonly number[],
    retainGraph: boolean,
    createGraph: boolean,
  ): (number | undefined)[];
  grad(tensor: number): number | undefined;
  clearGrad(tensor: number): void;
  setGrad(tensor: number, gradient: number): void;
  requiresGrad(tensor: number): boolean;
  setRequiresGrad(tensor: number, flag: boolean): void;
  isGradEnabled(): boolean;
  setGradEnabled(flag: boolean): void;
  setNumThreads(count: number): void;
  getNumThreads(): number;
  manualSeed(seed: number): void;
  torchVersion(): string;
  cudaDeviceCount(): number;
  exponentialNoise(
    images: number,
    positions: number,
    codes: number,
    seed: number,
    step: number,
    purpose: number,
  ): number;
  drawRows(
    cond: number,
    uncond: number | undefined,
    guidance: number,
    temperature: number,
    exponential: number | undefined,
    images?: number,
    positions?: number,
    seed?: number,
    step?: number,
    purpose?: number,
  ): number[] | undefined;
  linearRows(x: number, weight: number, scales?: number, summand?: number): number;
  gatedRows(x: number, gate: number, gateScales: number | undefined, up: number, upScales?: number): number;
  normRows(x: number, weight: number, eps: number): number | undefined;
  modulateRows(x: number, shift: number, scale: number, eps: number): number | undefined;
  gateRows(x: number, gate: number, y: number): boolean;
  geluInPlace(x: number, byTanh: boolean): boolean;
  turnRows(x: number, cos: number, sin: number): number | undefined;
  packInt8(weight: number): number | undefined;
  linearPacked(x: number, packed: number, bias?: number): number;
  attendRows(query: number, keys: number, values: number, lengths?: number): number;
  linearTiles(x: number, weight: number, bias?: number): number | undefined;
  attendTokens(queries: number, keys: number, values: number, numHeads: number): number | undefined;
  gumbelNoise(images: number, positions: number, seed: number, step: number, purpose: number): number;
}

let loaded: Addon | undefined;

/** The addon; throws one line that names the remedy when it was never built. */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

/**
 * How long threads of libtorch's pool wait busily for each other before they sleep: some 30 µs, enough from one operation
 * to the next. OpenMP's own choice is a hundred times that, and where another process wants the core, a step is then
 * ten times as slow.
 */
const SPIN_COUNT = '1000';

function load(): Addon {
  const { addon: path } = locateAddon();
  const { env } = process;
  if (env.OMP_WAIT_POLICY === undefined) env.GOMP_SPINCOUNT ??= SPIN_COUNT;
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    throw new TensorError(
      'NO_ADDON',
      `The native addon ${path} could not be loaded (${(error as Error).message.split('\n')[0]}): run "npm run setup".`,
      { cause: error },
    );
  }
}
