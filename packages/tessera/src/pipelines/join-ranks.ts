/**
 * Meeting the other processes of a distributed run. Who they are is in torchrun's variables, which `tessera launch`,
 * torchrun, Slurm (cli/slurm-environment.ts) and Kubernetes jobs set; without them a run is one process.
 */

import { destroyProcessGroup, hasLauncherEnvironment, initProcessGroup } from '@tessera/torch';
import { Ranks } from '../training/ranks.ts';
import { PipelineError, type PipelineEvent } from './events.ts';

/** Seconds that ranks wait for one another, at the start and in each step; `tessera launch --timeout` sets it. */
export const TIMEOUT_VARIABLE = 'TESSERA_RANK_TIMEOUT';
const DEFAULT_TIMEOUT = 600;

/** Whether this process is one of several that a launcher started. */
export function isOneOfSeveral(env: NodeJS.ProcessEnv = process.env): boolean {
  return hasLauncherEnvironment(env) && env.WORLD_SIZE !== '1';
}

/** Runs a pipeline on every process of the run that this one belongs to. Where it fails, the others are not waited for. */
export async function* amongRanks(
  body: (ranks: Ranks) => AsyncIterable<PipelineEvent>,
  env: NodeJS.ProcessEnv = process.env,
): AsyncGenerator<PipelineEvent> {
  if (!isOneOfSeveral(env)) {
    yield* body(new Ranks());
    return;
  }
  const group = await initProcessGroup({ timeoutMs: 1000 * timeoutOf(env) });
  let isWhole = false;
  try {
    yield* body(new Ranks(group));
    isWhole = true;
  } catch (error) {
    // All ranks stop together.
    isWhole = error instanceof PipelineError && error.code === 'STOPPED';
    throw error;
  } finally {
    await destroyProcessGroup(isWhole ? {} : { farewellMs: 0 });
  }
}

function timeoutOf(env: NodeJS.ProcessEnv): number {
  const text = env[TIMEOUT_VARIABLE];
  const seconds = text === undefined || text === '' ? DEFAULT_TIMEOUT : Number(text);
  if (seconds > 0 && seconds <= 1e6) return seconds;
  throw new PipelineError('OPTIONS', `Expected seconds above 0 as ${TIMEOUT_VARIABLE}, got "${text}".`);
}
