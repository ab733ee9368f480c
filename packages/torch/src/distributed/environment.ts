// torchrun's contract: five environment variables say who a process is and where the processes meet. Our launcher,
// torchrun, Slurm scripts and Kubernetes jobs set the same ones.
// https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables

import { DistributedError } from './distributed-error.ts';

export interface ProcessGroupAddress {
  /** 0..worldSize-1. */
  readonly rank: number;
  readonly worldSize: number;
  /** Index of this process on its machine: which GPU it takes. */
  readonly localRank: number;
  readonly masterAddress: string;
  readonly masterPort: number;
  /** Whether a launcher holds the store at that address; otherwise rank 0 opens it. */
  readonly launcherHoldsStore: boolean;
  /** How often a launcher has restarted the processes: each attempt meets in a place of its own. */
  readonly attempt: number;
}

/** True where a launcher has set the variables. */
export function hasLauncherEnvironment(env: NodeJS.ProcessEnv = process.env): boolean {
  return env.RANK !== undefined && env.WORLD_SIZE !== undefined;
}

/** Options win over the environment; a world of one process needs neither. */
export function readProcessGroupAddress(
  given: Partial<ProcessGroupAddress> = {},
  env: NodeJS.ProcessEnv = process.env,
): ProcessGroupAddress {
  const worldSize = given.worldSize ?? count(env, 'WORLD_SIZE', 1);
  const rank = given.rank ?? count(env, 'RANK', 0);
  if (worldSize === undefined || rank === undefined) throw missing(env, ['RANK', 'WORLD_SIZE']);
  if (!Number.isInteger(worldSize) || worldSize < 1 || !Number.isInteger(rank) || rank < 0 || rank >= worldSize) {
    throw wrong(`expected a rank in 0..worldSize-1, got rank ${rank} of ${worldSize}`);
  }
  const masterAddress = given.masterAddress ?? env.MASTER_ADDR ?? (worldSize === 1 ? '127.0.0.1' : undefined);
  const masterPort = given.masterPort ?? count(env, 'MASTER_PORT', 0) ?? (worldSize === 1 ? 0 : undefined);
  if (masterAddress === undefined || masterPort === undefined) throw missing(env, ['MASTER_ADDR', 'MASTER_PORT']);
  if (!Number.isInteger(masterPort) || masterPort < 0 || masterPort > 65535 || (masterPort === 0 && worldSize > 1)) {
    throw wrong(`expected a port in 1..65535 as MASTER_PORT, got ${masterPort}`);
  }
  return {
    rank,
    worldSize,
    localRank: given.localRank ?? count(env, 'LOCAL_RANK', 0) ?? 0,
    masterAddress,
    masterPort,
    launcherHoldsStore: given.launcherHoldsStore ?? env.TORCHELASTIC_USE_AGENT_STORE === 'True',
    attempt: given.attempt ?? count(env, 'TORCHELASTIC_RESTART_COUNT', 0) ?? 0,
  };
}

function count(env: NodeJS.ProcessEnv, name: string, least: number): number | undefined {
  const text = env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least)
    throw wrong(`expected a whole number >= ${least} as ${name}, got "${text}"`);
  return value;
}

function missing(env: NodeJS.ProcessEnv, names: readonly string[]): DistributedError {
  const unset = names.filter((name) => env[name] === undefined || env[name] === '');
  return wrong(
    `${unset.join(' and ')} must be set: start the processes with a launcher such as torchrun, or pass options`,
  );
}

function wrong(problem: string): DistributedError {
  return new DistributedError('ENVIRONMENT', 'initProcessGroup', problem);
}
