/**
 * The ranks that a launcher runs on its machine: processes with torchrun's environment, their output line by line, and
 * how the group of them ends. The first rank that fails decides; the others get a few seconds to say what they saw of it.
 *
 * Ranks are process groups of their own, so that Ctrl-C in a terminal reaches them once, through the launcher.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { constants, cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { TIMEOUT_VARIABLE } from '../join-ranks.ts';

/** What a group of ranks is told of its world. */
export interface Assignment {
  /** From 0: how often all of it has been started again. */
  attempt: number;
  firstRank: number;
  worldSize: number;
  masterAddress: string;
  masterPort: number;
}

export interface LocalRanksOptions {
  command: readonly string[];
  count: number;
  node: number;
  maxRestarts: number;
  /** Seconds that ranks wait for one another. */
  timeout?: number | undefined;
  /** Milliseconds from the request to stop to the end by force. */
  graceMs: number;
  output: RankOutput;
}

/** A line that a rank has written. */
export type RankOutput = (rank: number, stream: 'stdout' | 'stderr', line: string) => void;

export type Outcome =
  | { kind: 'done' }
  /** Asked to, by a signal; `code` as a shell gives it. */
  | { kind: 'stopped'; code: number }
  | { kind: 'failed'; code: number; why: string };

/** Time for the other ranks to find out and say so: a lost connection shows at once, a sign of life is awaited for 3 s. */
const AFTER_FAILURE_MS = 6000;
const STOPPED = new Set([130, 143]);

export class LocalRanks {
  /** How the group has ended; all its processes are gone then. */
  readonly outcome: Promise<Outcome>;
  private readonly children = new Set<ChildProcess>();
  private readonly options: LocalRanksOptions;
  private first: Outcome | undefined;
  private isStopping = false;
  private force: NodeJS.Timeout | undefined;

  constructor(options: LocalRanksOptions, assignment: Assignment) {
    this.options = options;
    const local = Array.from({ length: options.count }, (_, index) => index);
    const ends = local.map((index) => this.start(index, assignment));
    this.outcome = Promise.all(ends).then(() => {
      clearTimeout(this.force);
      return this.first ?? { kind: 'done' };
    });
  }

  /** Asks all ranks to stop; by force after the grace, or when this process is asked once more. */
  stop(): void {
    this.isStopping = true;
    for (const child of this.children) child.kill('SIGTERM');
    this.endIn(this.options.graceMs);
    const now = (): void => this.endIn(0);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, now);
      void this.outcome.then(() => process.off(signal, now));
    }
  }

  /** Ends all ranks by force, a little later. */
  endIn(milliseconds: number): void {
    clearTimeout(this.force);
    this.force = setTimeout(() => {
      for (const child of this.children) child.kill('SIGKILL');
    }, milliseconds);
  }

  private start(index: number, assignment: Assignment): Promise<void> {
    const { command, output } = this.options;
    const rank = assignment.firstRank + index;
    const [program, ...words] = command;
    const began = performance.now();
    const child = spawn(program!, words, {
      env: { ...process.env, ...this.environment(index, assignment) },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.children.add(child);
    for (const stream of ['stdout', 'stderr'] as const) {
      createInterface({ input: child[stream] }).on('line', (line) => output(rank, stream, line));
    }
    return new Promise((resolve) => {
      const end = (outcome: Outcome): void => {
        this.children.delete(child);
        if (outcome.kind !== 'done' && this.first === undefined) {
          this.first = outcome;
          this.endIn(outcome.kind === 'failed' ? AFTER_FAILURE_MS : this.options.graceMs);
        }
        resolve();
      };
      child.once('error', (error) => {
        end({ kind: 'failed', code: 127, why: `rank ${rank} could not be started: ${error.message}` });
      });
      child.once('close', (code, signal) => {
        const who = `rank ${rank} (process ${child.pid})`;
        const when = `${((performance.now() - began) / 1000).toFixed(1)} s after its start`;
        if (code === 0) return end({ kind: 'done' });
        if (code !== null && STOPPED.has(code)) return end({ kind: 'stopped', code });
        if (signal === 'SIGTERM' && this.isStopping) return end({ kind: 'stopped', code: 143 });
        if (code !== null) return end({ kind: 'failed', code, why: `${who} ended with code ${code} ${when}` });
        const number = constants.signals[signal!] ?? 0;
        end({ kind: 'failed', code: 128 + number, why: `${who} was killed by ${signal} ${when}` });
      });
    });
  }

  private environment(index: number, assignment: Assignment): Record<string, string> {
    const { count, node, maxRestarts, timeout } = this.options;
    const threads = process.env.OMP_NUM_THREADS ?? String(Math.max(1, Math.floor(cpus().length / count)));
    return {
      RANK: String(assignment.firstRank + index),
      LOCAL_RANK: String(index),
      WORLD_SIZE: String(assignment.worldSize),
      LOCAL_WORLD_SIZE: String(count),
      GROUP_RANK: String(node),
      MASTER_ADDR: assignment.masterAddress,
      MASTER_PORT: String(assignment.masterPort),
      TORCHELASTIC_RESTART_COUNT: String(assignment.attempt),
      TORCHELASTIC_MAX_RESTARTS: String(maxRestarts),
      // Rank 0 opens the store, as the processes are told by its absence from the launcher.
      TORCHELASTIC_USE_AGENT_STORE: 'False',
      OMP_NUM_THREADS: threads,
      [LAUNCHER_VARIABLE]: String(process.pid),
      ...(timeout === undefined ? {} : { [TIMEOUT_VARIABLE]: String(timeout) }),
    };
  }
}

/** The launcher's process: a rank whose launcher has gone stops too. */
export const LAUNCHER_VARIABLE = 'TESSERA_LAUNCHER';
