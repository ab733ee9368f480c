/**
 * The device of this process: networks are made on it, and what they are given is brought to it. One process drives one
 * device, as torchrun's contract has it (LOCAL_RANK says which); children and worker threads inherit it by the
 * environment. Weights move when they are loaded, inputs when they are made, results when the host asks for numbers.
 */

import { cudaDeviceCount, cudaIsAvailable, type Device, setDevice, type Tensor, toAsync } from '@tessera/torch';

/** A process started with it begins on that device. */
export const DEVICE_VARIABLE = 'TESSERA_DEVICE';

export class DeviceError extends Error {
  readonly code = 'DEVICE';

  constructor(message: string) {
    super(message);
    this.name = 'DeviceError';
  }
}

let current: Device | undefined;

/** Where networks are made. */
export function networkDevice(): Device {
  current ??= resolveDevice(process.env[DEVICE_VARIABLE] || 'cpu');
  return current;
}

/**
 * Makes networks on this device from now on, here and in processes and threads that are started later.
 *
 * @param name cpu, cuda or cuda:N; `cuda` alone is this process's own GPU under a launcher, and the first one otherwise
 */
export function useDevice(name: string): Device {
  current = resolveDevice(name);
  process.env[DEVICE_VARIABLE] = name;
  return current;
}

/** x on the device of `like`; the host does not wait for a copy to a GPU. */
export function beside(x: Tensor, like: { readonly device: Device }): Tensor {
  const { device } = like;
  if (x.device === device) return x;
  return toAsync(x, device);
}

/**
 * Which of the GPUs that it sees is this process's own: that of its number on the machine, LOCAL_RANK; alone, the first.
 * Where a launcher such as Slurm's shows each process one GPU, it is that one.
 */
export function ownGpu(count: number, env: NodeJS.ProcessEnv = process.env): number {
  return count === 1 && env.CUDA_VISIBLE_DEVICES !== undefined ? 0 : Number(env.LOCAL_RANK ?? 0);
}

function resolveDevice(name: string): Device {
  if (name === 'cpu') return name;
  const [, number] = /^cuda(?::(\d{1,3}))?$/.exec(name) ?? [name];
  if (!name.startsWith('cuda') || (number === undefined && name !== 'cuda')) {
    throw new DeviceError(`Expected a device cpu, cuda or cuda:N, got "${name}".`);
  }
  if (!cudaIsAvailable()) {
    throw new DeviceError(
      `No CUDA for the device ${name}: libtorch is a build for the CPU or finds no GPU. Look at nvidia-smi, install a CUDA ` +
        'build of torch for python3, run "npm run setup" again (docs/setup.md), or leave --device out.',
    );
  }
  const index = number === undefined ? ownGpu(cudaDeviceCount()) : Number(number);
  if (!(index < cudaDeviceCount())) {
    throw new DeviceError(
      `Expected a device below cuda:${cudaDeviceCount()}, the number of GPUs here, got cuda:${index}.`,
    );
  }
  setDevice(index);
  return `cuda:${index}`;
}
