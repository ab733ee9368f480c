/**
 * `tessera launch`: starts a command as the ranks of a distributed run, on one machine or, with a meeting place, on
 * several, and starts all of them again when one fails. What a rank is told is torchrun's contract, so any command that
 * runs under torchrun runs here, and the other way round.
 */

import { createServer } from 'node:net';
import { PipelineError, type PipelineEvent } from './events.ts';
import type { Link } from './launch/link.ts';
import {
  type Assignment,
  LocalRanks,
  type LocalRanksOptions,
  type Outcome,
  type RankOutput,
} from './launch/local-ranks.ts';
import { joinMeeting, Meeting, parseMeetingPlace } from './launch/rendezvous.ts';

export interface LaunchOptions {
  /** Program and its words. */
  command: readonly string[];
  nprocPerNode: number;
  nnodes?: number | undefined;
  nodeRank?: number | undefined;
  /** HOST:PORT of the first machine, for several. */
  rdzv?: string | undefined;
  maxRestarts?: number | undefined;
  /** Seconds that ranks wait for one another in a step. */
  timeout?: number | undefined;
  /** Seconds that machines wait for one another. */
  rdzvTimeout?: number | undefined;
  /** Seconds between the request to stop and the end by force. */
  grace?: number | undefined;
  output: RankOutput;
  signal?: AbortSignal | undefined;
}

const RDZV_TIMEOUT = 600;
const GRACE = 30;

export async function* launch(options: LaunchOptions): AsyncGenerator<PipelineEvent> {
  const { nnodes = 1, nodeRank = 0, rdzv, maxRestarts = 0, grace = GRACE } = options;
  if (options.command.length === 0) throw new PipelineError('OPTIONS', 'Expected a command after "--".');
  if (nodeRank >= nnodes) {
    throw new PipelineError('OPTIONS', `--node-rank: expected 0..${nnodes - 1}, got ${nodeRank}.`);
  }
  if (nnodes > 1 && rdzv === undefined) {
    throw new PipelineError('OPTIONS', `--nnodes ${nnodes}: expected --rdzv HOST:PORT of the first machine as well.`);
  }
  const local: LocalRanksOptions = {
    command: options.command,
    count: options.nprocPerNode,
    node: nodeRank,
    maxRestarts,
    timeout: options.timeout,
    graceMs: 1000 * grace,
    output: options.output,
  };
  const outcome = yield* nodeRank === 0 ? lead(options, local) : follow(options, local);
  if (outcome.kind !== 'done') {
    const exitCode = outcome.code;
    if (outcome.kind === 'failed') throw new PipelineError('RANK_FAILED', `${outcome.why}.`, { exitCode });
    throw new PipelineError('STOPPED', 'Stopped; the same command goes on from here.', { exitCode });
  }
  yield { kind: 'result', result: { ranks: nnodes * options.nprocPerNode } };
}

/** The first machine: decides when to start, to start again, to finish. */
async function* lead(options: LaunchOptions, local: LocalRanksOptions): AsyncGenerator<PipelineEvent, Outcome> {
  const { nnodes = 1, maxRestarts = 0, rdzvTimeout = RDZV_TIMEOUT, signal } = options;
  const place = options.rdzv === undefined ? undefined : parseMeetingPlace(options.rdzv);
  const meeting = nnodes === 1 ? undefined : await Meeting.open(place!, nnodes);
  try {
    for (let attempt = 0; ; attempt++) {
      const others = (await meeting?.gather(1000 * rdzvTimeout, signal)) ?? new Map<number, number>();
      const worldSize = local.count + [...others.values()].reduce((sum, count) => sum + count, 0);
      const shared = { attempt, worldSize, masterAddress: place?.host ?? '127.0.0.1', masterPort: await freePort() };
      let firstRank = local.count;
      const ends = [...others].map(([node, count]) => {
        const end = meeting!.start(node, { kind: 'start', ...shared, firstRank });
        firstRank += count;
        return end;
      });
      const ranks = runLocally({ ...shared, firstRank: 0 }, local, signal);
      const outcomes = [ranks.outcome, ...ends];
      let failure: Outcome | undefined;
      for (const end of outcomes) {
        void end.then((outcome) => {
          if (outcome.kind !== 'failed' || failure !== undefined) return;
          failure = outcome;
          ranks.endIn(FAILED_ELSEWHERE_MS);
          meeting?.tell({ kind: 'end' });
        });
      }
      const all = await Promise.all(outcomes);
      const stopped = all.find(({ kind }) => kind === 'stopped');
      const outcome = signal?.aborted === true ? (stopped ?? all[0]!) : (failure ?? stopped ?? all[0]!);
      if (outcome.kind !== 'failed' || attempt >= maxRestarts || signal?.aborted === true) {
        meeting?.tell({ kind: 'finish', outcome });
        return outcome;
      }
      yield { kind: 'warning', message: `${outcome.why}; starting again (${attempt + 1} of ${maxRestarts})` };
    }
  } finally {
    meeting?.close();
  }
}

/** Time for ranks to say what they saw of a failure on another machine. */
const FAILED_ELSEWHERE_MS = 6000;

/** Another machine: does what the first one says. */
async function* follow(options: LaunchOptions, local: LocalRanksOptions): AsyncGenerator<PipelineEvent, Outcome> {
  const { nnodes = 1, nodeRank = 0, rdzvTimeout = RDZV_TIMEOUT, signal } = options;
  const place = parseMeetingPlace(options.rdzv!);
  for (;;) {
    const hello = { kind: 'join', node: nodeRank, nodes: nnodes, count: local.count } as const;
    const link = await joinMeeting(place, hello, 1000 * rdzvTimeout, signal);
    const end = await obey(link, local, signal);
    if (typeof end !== 'string') return end;
    yield { kind: 'warning', message: `the first machine was lost (${end}): ranks stopped, waiting for it` };
  }
}

/** Runs ranks as a link says, until the finish; or the reason for which the link was lost. */
async function obey(link: Link, local: LocalRanksOptions, signal: AbortSignal | undefined): Promise<Outcome | string> {
  let ranks: LocalRanks | undefined;
  const finish = new Promise<Outcome>((resolve) => {
    link.onMessage = (message) => {
      if (message.kind === 'end') ranks?.endIn(FAILED_ELSEWHERE_MS);
      if (message.kind === 'finish') resolve(message.outcome);
      if (message.kind !== 'start') return;
      const { kind: _kind, ...assignment } = message;
      ranks = runLocally(assignment, local, signal);
      void ranks.outcome.then((outcome) => link.send({ kind: 'ended', outcome }));
    };
  });
  const end = await Promise.race([finish, link.lost]);
  if (typeof end === 'string') {
    ranks?.endIn(0);
    await ranks?.outcome;
  }
  link.close();
  return end;
}

/** The launcher's own signal goes on to the ranks. */
function runLocally(assignment: Assignment, options: LocalRanksOptions, signal: AbortSignal | undefined): LocalRanks {
  const ranks = new LocalRanks(options, assignment);
  const stop = (): void => ranks.stop();
  if (signal?.aborted === true) stop();
  else signal?.addEventListener('abort', stop, { once: true });
  void ranks.outcome.then(() => signal?.removeEventListener('abort', stop));
  return ranks;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
