/**
 * The processes that share an evaluation. Those of a launcher (torchrun's variables with an address) meet after every block,
 * so that none waits long for another, and the first one measures. Processes that know only RANK and WORLD_SIZE, such as
 * the tasks of a job array, never meet: each makes its share, and the one that finds all blocks measures.
 */

import { hasLauncherEnvironment } from '@tessera/torch';
import { Ranks } from '../../training/ranks.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import { amongRanks } from '../join-ranks.ts';

export interface Processes {
  readonly rank: number;
  readonly world: number;
  /** Whether they can wait for one another. */
  readonly areTogether: boolean;
  /** The first one's list, where they can ask it. */
  agree(blocks: number[]): Promise<number[]>;
  /** What this one makes of the missing blocks. */
  shareOf(missing: readonly number[], all: readonly number[]): number[];
  /** How often they meet while making them. */
  roundsOf(missing: readonly number[], mine: readonly number[]): number;
  meet(): Promise<void>;
}

/** Runs a pipeline on every process that shares it. */
export async function* amongProcesses(
  body: (processes: Processes) => AsyncIterable<PipelineEvent>,
): AsyncGenerator<PipelineEvent> {
  const { env } = process;
  // Without an address they cannot meet.
  if (hasLauncherEnvironment(env) && env.MASTER_ADDR === undefined) yield* body(separateProcesses(env));
  else yield* amongRanks((ranks) => body(processesOf(ranks)));
}

/** Those of a process group, or one process alone. */
function processesOf(ranks: Ranks): Processes {
  const { rank, size: world } = ranks;
  return {
    rank,
    world,
    areTogether: world > 1,
    agree: (blocks) => ranks.decide(() => blocks),
    shareOf: (missing) => missing.filter((_, i) => i % world === rank),
    roundsOf: (missing) => Math.ceil(missing.length / world),
    meet: async () => void (await ranks.all(null)),
  };
}

export const ONE_PROCESS: Processes = processesOf(new Ranks());

/** Those that know their numbers alone. */
function separateProcesses(env: NodeJS.ProcessEnv): Processes {
  const [rank, world] = [Number(env.RANK ?? 0), Number(env.WORLD_SIZE ?? 1)];
  if (!Number.isInteger(rank) || !Number.isInteger(world) || rank < 0 || rank >= world) {
    throw new PipelineError('OPTIONS', `Expected RANK below WORLD_SIZE, got ${env.RANK} and ${env.WORLD_SIZE}.`);
  }
  return {
    rank,
    world,
    areTogether: false,
    agree: async (blocks) => blocks,
    // By number in the whole, since others may be making theirs meanwhile.
    shareOf: (missing, all) => missing.filter((block) => all.indexOf(block) % world === rank),
    roundsOf: (_, mine) => mine.length,
    meet: async () => {},
  };
}
