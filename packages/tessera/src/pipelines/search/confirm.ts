/**
 * The best of many noisy values is better by luck than it is in truth. So the start and the best settings are measured
 * again on blocks of noise that the search never saw, both on the same ones, and their difference is taken pair by pair.
 */

import type { Ledger } from '../../search/ledger.ts';
import type { EvaluationJob, Evaluators } from '../../search/run-search.ts';

/** The search's own blocks are numbered from 0. */
const FIRST_BLOCK = 2 ** 19;

export interface ConfirmedValue {
  name: string;
  /** One a block. */
  values: number[];
  mean: number;
  /** Of the mean, over blocks; NaN for one block. */
  stdError: number;
}

export interface Confirmation {
  start: ConfirmedValue;
  best: ConfirmedValue;
  /** best − start, block by block: negative is better. */
  difference: ConfirmedValue;
}

/** Measures what the record does not hold yet; yields the number of evaluations done. */
export async function* confirm<S>(
  settings: { start: S; best: S },
  options: { evaluators: Evaluators<S>; ledger: Ledger; numImages: number; blocks: number; key: string },
): AsyncGenerator<number, Confirmation> {
  const { evaluators, ledger, numImages, blocks, key } = options;
  const names = ['start', 'best'] as const;
  const held = new Map(ledger.records.map((record) => [record.phase, record.value]));
  // The best changes when a search goes on; its key tells which one a value belongs to.
  const phase = (name: (typeof names)[number], block: number): string =>
    name === 'start' ? `start_${block}` : `best_${key}_${block}`;
  const missing = names.flatMap((name) =>
    Array.from({ length: blocks }, (_, block) => ({ name, block })).filter(
      ({ block }) => !held.has(phase(name, block)),
    ),
  );
  // Outcomes come in any order, so a kill leaves gaps: go on after the highest number.
  const first = ledger.records.reduce((most, { index }) => Math.max(most, index + 1), 0);
  const jobs = missing.map(
    ({ name, block }, i): EvaluationJob<S> => ({
      index: first + i,
      settings: settings[name],
      numImages,
      seedBlock: FIRST_BLOCK + block,
    }),
  );
  const queue = [...jobs];
  let done = 0;
  if (queue.length > 0) {
    for await (const { index, elapsedSeconds, ...outcome } of evaluators.evaluate(() => queue.shift())) {
      const { name, block } = missing[index - first]!;
      const seedBlock = FIRST_BLOCK + block;
      const record = { index, phase: phase(name, block), point: [], share: 1, numImages, seedBlock, ...outcome };
      ledger.append({ ...record, atSeconds: elapsedSeconds });
      held.set(record.phase, outcome.value);
      yield ++done;
    }
  }
  const valuesOf = (name: (typeof names)[number]): number[] =>
    Array.from({ length: blocks }, (_, block) => held.get(phase(name, block))!);
  const [start, best] = [valuesOf('start'), valuesOf('best')];
  return {
    start: summary('start', start),
    best: summary('best', best),
    difference: summary(
      'difference',
      best.map((value, i) => value - start[i]!),
    ),
  };
}

function summary(name: string, values: number[]): ConfirmedValue {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1);
  return { name, values, mean, stdError: Math.sqrt(variance / values.length) };
}
