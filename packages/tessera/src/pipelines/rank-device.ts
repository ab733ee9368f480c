/** Which device a process of a run computes on: with GPUs, each process of a machine its own. */

import { PipelineError } from './events.ts';

export const deviceKinds = ['cpu', 'cuda'] as const;
export type DeviceKind = (typeof deviceKinds)[number];
export type Device = 'cpu' | `cuda:${number}`;

/**
 * @param asked `cuda`: the GPU of the process's number on its machine, LOCAL_RANK; alone, the first
 * @param gpus how many this process sees
 */
export function rankDevice(asked: DeviceKind, gpus: number, env: NodeJS.ProcessEnv = process.env): Device {
  if (asked === 'cpu') return 'cpu';
  const text = env.LOCAL_RANK ?? '0';
  const index = Number(text);
  if (!/^\d+$/.test(text)) throw refused(`Expected a whole number as LOCAL_RANK, got "${text}".`);
  if (gpus === 0) {
    throw refused('--device cuda: expected a GPU, and a libtorch with CUDA (docs/setup.md); this process sees no GPU.');
  }
  // Launchers such as Slurm's show each process one GPU, under the number 0.
  if (gpus === 1 && env.CUDA_VISIBLE_DEVICES !== undefined) return 'cuda:0';
  if (index < gpus) return `cuda:${index}`;
  throw refused(
    `--device cuda: expected a GPU for each process of this machine, got ${gpus} for process ${index} (LOCAL_RANK): start at ` +
      `most ${gpus} here (--nproc-per-node ${gpus}).`,
  );
}

function refused(message: string): PipelineError {
  return new PipelineError('OPTIONS', message);
}
