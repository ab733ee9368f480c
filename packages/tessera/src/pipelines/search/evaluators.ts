/**
 * Who measures candidates: this process; worker processes of this machine, each with its own model; or the ranks of a
 * distributed run. Workers take a job when they are free. Ranks take one each and meet after every round, so that all of
 * them hold the same record and decide alike.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { allGatherObject, type ProcessGroup } from '@tessera/torch';
import type { Objective } from '../../search/objective.ts';
import type { EvaluationJob, EvaluationOutcome, Evaluators } from '../../search/run-search.ts';
import { SearchError } from '../../search/search-error.ts';
import { PipelineError } from '../events.ts';
import type { FromEvaluator, ToEvaluator } from './evaluator-main.ts';
import type { ObjectiveDescription } from './open-objective.ts';

/** One after the other, here. */
export class LocalEvaluators implements Evaluators {
  private readonly objective: Objective;
  private readonly signal: AbortSignal | undefined;
  private readonly began = performance.now();

  constructor(objective: Objective, signal?: AbortSignal) {
    this.objective = objective;
    this.signal = signal;
  }

  async *evaluate(next: () => EvaluationJob | undefined): AsyncGenerator<EvaluationOutcome> {
    for (let job = next(); job !== undefined; job = next()) {
      yield await measure(this.objective, job, this.began, this.signal);
    }
  }

  dispose(): void {}
}

/** In processes of their own. */
export class ProcessEvaluators implements Evaluators {
  private readonly workers: Worker[];
  private readonly signal: AbortSignal | undefined;
  private readonly aborted: Promise<never>;
  private readonly began = performance.now();

  constructor(
    description: ObjectiveDescription,
    options: { count: number; threads: number; signal?: AbortSignal | undefined },
  ) {
    const { count, threads, signal } = options;
    this.signal = signal;
    this.aborted = whenAborted(signal);
    this.workers = Array.from({ length: count }, () => new Worker({ kind: 'open', description, threads }));
  }

  async *evaluate(next: () => EvaluationJob | undefined): AsyncGenerator<EvaluationOutcome> {
    const idle = [...this.workers];
    const busy = new Map<Worker, Promise<{ worker: Worker; outcome: EvaluationOutcome }>>();
    for (;;) {
      this.signal?.throwIfAborted();
      while (idle.length > 0) {
        const job = next();
        if (job === undefined) break;
        const worker = idle.shift()!;
        const outcome = worker.run(job).then((done) => ({
          worker,
          outcome: { ...done, index: job.index, elapsedSeconds: (performance.now() - this.began) / 1000 },
        }));
        busy.set(worker, outcome);
      }
      if (busy.size === 0) return;
      const { worker, outcome } = await Promise.race([...busy.values(), this.aborted]);
      busy.delete(worker);
      idle.push(worker);
      yield outcome;
    }
  }

  dispose(): void {
    for (const worker of this.workers) worker.stop();
  }
}

/** On the ranks of a process group; every rank runs the same search and takes part in each round. */
export class RankEvaluators implements Evaluators {
  private readonly objective: Objective;
  private readonly group: ProcessGroup;
  private readonly signal: AbortSignal | undefined;
  private readonly began = performance.now();

  constructor(objective: Objective, group: ProcessGroup, signal?: AbortSignal) {
    this.objective = objective;
    this.group = group;
    this.signal = signal;
  }

  async *evaluate(next: () => EvaluationJob | undefined): AsyncGenerator<EvaluationOutcome> {
    const { rank, size } = this.group;
    for (;;) {
      const round: EvaluationJob[] = [];
      for (let job = next(); job !== undefined; job = round.length < size ? next() : undefined) round.push(job);
      if (round.length === 0) return;
      const mine = round[rank];
      let own: Told;
      let mineFailed: unknown;
      try {
        const outcome = mine && (await measure(this.objective, mine, this.began, this.signal));
        own = { outcome, seconds: (performance.now() - this.began) / 1000 };
      } catch (error) {
        // The others wait in the exchange: they must hear of it.
        mineFailed = error;
        own = { error: (error as Error).message, seconds: 0 };
      }
      const all = await allGatherObject(this.group, own);
      if (mineFailed !== undefined) throw mineFailed;
      const failed = all.findIndex(({ error }) => error !== undefined);
      if (failed >= 0) throw new PipelineError('SEARCH_RANK', `Rank ${failed} failed: ${all[failed]!.error}`);
      // Rank 0's clock is everybody's.
      for (const { outcome } of all) if (outcome !== undefined) yield { ...outcome, elapsedSeconds: all[0]!.seconds };
    }
  }

  dispose(): void {}
}

interface Told {
  outcome?: EvaluationOutcome | undefined;
  error?: string;
  seconds: number;
}

async function measure(
  objective: Objective,
  { index, settings, numImages, seedBlock }: EvaluationJob,
  began: number,
  signal: AbortSignal | undefined,
): Promise<EvaluationOutcome> {
  const start = performance.now();
  const result = await objective.evaluate(settings, { numImages, seedBlock, signal });
  const end = performance.now();
  return { index, ...result, seconds: (end - start) / 1000, elapsedSeconds: (end - began) / 1000 };
}

type Done = Extract<FromEvaluator, { kind: 'done' }>;

/** A process with a model open. */
class Worker {
  private readonly child: ChildProcess;
  private readonly ready: Promise<void>;
  private wake: { done: (value: Done) => void; fail: (error: Error) => void } | undefined;
  private died: Error | undefined;

  constructor(order: Extract<ToEvaluator, { kind: 'open' }>) {
    this.child = fork(fileURLToPath(new URL('./evaluator-main.js', import.meta.url)), [], {
      serialization: 'json',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      execArgv: [],
    });
    this.ready = new Promise((resolve, reject) => {
      this.child.on('message', (message: FromEvaluator) => {
        if (message.kind === 'ready') resolve();
        else if (message.kind === 'done') this.wake?.done(message);
        else {
          const error = new SearchError('SEARCH_OBJECTIVE', message.message);
          reject(error);
          this.wake?.fail(error);
        }
      });
      const ended = (how: string): void => {
        this.died = new PipelineError('WORKER_DIED', `A process that measured candidates ended by ${how}.`);
        reject(this.died);
        this.wake?.fail(this.died);
      };
      this.child.on('exit', (code, signal) => ended(signal ?? `exit code ${code}`));
      this.child.on('error', (error) => ended(error.message));
    });
    // Heard by run(); a worker without a job must not end this process.
    this.ready.catch(() => {});
    this.child.send(order);
  }

  async run({ index: _, ...job }: EvaluationJob): Promise<Omit<Done, 'kind'>> {
    await this.ready;
    if (this.died !== undefined) throw this.died;
    const done = await new Promise<Done>((resolve, reject) => {
      this.wake = { done: resolve, fail: reject };
      this.child.send({ kind: 'evaluate', job } satisfies ToEvaluator);
    });
    const { kind: _kind, ...outcome } = done;
    return outcome;
  }

  stop(): void {
    this.child.removeAllListeners('exit');
    this.child.kill('SIGKILL');
  }
}

/** Rejects when the signal comes; never resolves. */
function whenAborted(signal: AbortSignal | undefined): Promise<never> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal?.aborted === true) reject(signal.reason);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  // Whoever waits hears of it; when nobody does, it is no unhandled rejection.
  aborted.catch(() => {});
  return aborted;
}
