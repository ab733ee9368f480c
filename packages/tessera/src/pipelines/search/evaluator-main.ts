/** The main module of a process that measures candidates: opens the objective once, then answers job by job. */

import { setNumThreads } from '@tessera/torch';
import type { EvaluationJob } from '../../search/run-search.ts';
import { type ObjectiveDescription, type OpenObjective, openObjective } from './open-objective.ts';

export type ToEvaluator =
  | { kind: 'open'; description: ObjectiveDescription; threads: number }
  | { kind: 'evaluate'; job: Omit<EvaluationJob, 'index'> };

export type FromEvaluator =
  | { kind: 'ready' }
  | { kind: 'done'; value: number; stdError?: number | undefined; seconds: number }
  | { kind: 'error'; message: string };

let opened: OpenObjective | undefined;

/** Nothing to do when another module imports the types. */
if (process.send !== undefined && process.argv[1]?.endsWith('evaluator-main.js') === true) {
  const tell = (message: FromEvaluator): void => void process.send!(message);
  // Whoever asked is gone: nobody wants the answer.
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C goes to all processes of a terminal; this one ends with its parent.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  process.on('message', (message: ToEvaluator) => {
    answer(message).then(tell, (error: unknown) => tell({ kind: 'error', message: (error as Error).message }));
  });
}

async function answer(message: ToEvaluator): Promise<FromEvaluator> {
  if (message.kind === 'open') {
    setNumThreads(message.threads);
    opened = await openObjective(message.description);
    return { kind: 'ready' };
  }
  const { settings, ...at } = message.job;
  const start = performance.now();
  const result = await opened!.objective.evaluate(settings, at);
  return { kind: 'done', ...result, seconds: (performance.now() - start) / 1000 };
}
