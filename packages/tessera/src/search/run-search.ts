/**
 * The loop of a search: ask the method, have the candidates measured by whoever is free, write each value down, tell the
 * method. Evaluations that the record holds are not made again, so the same loop begins a search and goes on with one.
 * Every decision follows from the record alone, so that processes which share it decide alike.
 */

import type { SamplingSettings } from '@tessera/schedule';
import type { EvaluationRecord, Ledger } from './ledger.ts';
import type { AskTell, Candidate } from './method.ts';
import { SearchError } from './search-error.ts';

/** Whichever is used up first; undefined: no limit. */
export interface SearchBudget {
  images?: number | undefined;
  minutes?: number | undefined;
  evaluations?: number | undefined;
}

/** One evaluation to make, of settings `S`. */
export interface EvaluationJob<S = SamplingSettings> {
  index: number;
  settings: S;
  numImages: number;
  seedBlock: number;
}

export interface EvaluationOutcome {
  index: number;
  /** NaN, or null where it came as JSON: it could not be measured. */
  value: number;
  stdError?: number | undefined;
  seconds: number;
  /** Since the evaluators were made; the same in every process that is told this outcome. */
  elapsedSeconds: number;
}

/** Measures candidates: in this process, in several, on several machines. */
export interface Evaluators<S = SamplingSettings> {
  /** Takes jobs until there are none; tells each outcome as it comes, in any order. */
  evaluate(next: () => EvaluationJob<S> | undefined): AsyncIterable<EvaluationOutcome>;
  dispose(): void | Promise<void>;
}

export interface SearchRun<S = SamplingSettings> {
  method: AskTell;
  parametrisation: { settings(point: readonly number[]): S };
  evaluators: Evaluators<S>;
  ledger: Ledger;
  /** Images of a whole evaluation. */
  numImages: number;
  budget: SearchBudget;
  /** `common`: every candidate gets the same noise and classes; `fresh`: each its own, as in the original. */
  noise: 'common' | 'fresh';
}

/** Yields every evaluation, those of earlier starts included. Returns why it ended. */
export async function* runSearch<S>(run: SearchRun<S>): AsyncGenerator<EvaluationRecord, 'done' | 'budget'> {
  const { method, ledger, evaluators } = run;
  const secondsBefore = secondsSpent(ledger.records);
  let first = 0;
  while (!method.isDone) {
    const batch = method.ask();
    const at = first;
    const known = batch.map((candidate, i) => checked(ledger.get(at + i), candidate));
    for (const record of known) if (record !== undefined) yield record;
    const waiting = batch.flatMap((candidate, i) => (known[i] === undefined ? [jobOf(run, at + i, candidate)] : []));
    const spent = totals(ledger.records);
    const next = (): EvaluationJob<S> | undefined => {
      const job = waiting[0];
      if (job === undefined || !affordable(run.budget, spent, job, secondsSpent(ledger.records))) return undefined;
      spent.images += job.numImages;
      spent.evaluations += 1;
      return waiting.shift();
    };
    if (waiting.length > 0) {
      for await (const outcome of evaluators.evaluate(next)) {
        const record = recordOf(run, batch[outcome.index - at]!, outcome, secondsBefore);
        ledger.append(record);
        yield record;
      }
    }
    if (waiting.length > 0) return 'budget';
    method.tell(batch.map((_, i) => ledger.get(at + i)!.value));
    first += batch.length;
  }
  return 'done';
}

/** The lowest value of the whole evaluations; those on fewer images are not comparable. */
export function bestOf(records: readonly EvaluationRecord[]): EvaluationRecord | undefined {
  const whole = records.filter(({ share, failed }) => share === 1 && failed === undefined);
  return whole.reduce<EvaluationRecord | undefined>(
    (best, record) => (best === undefined || record.value < best.value ? record : best),
    undefined,
  );
}

/** The highest value on as many images. */
function worstOf(records: readonly EvaluationRecord[], share: number): number | undefined {
  const values = records.filter((record) => record.share === share).map(({ value }) => value);
  return values.length === 0 ? undefined : Math.max(...values);
}

export function failureNote({ index, phase }: EvaluationRecord): string {
  return `Evaluation ${index} (${phase}) gave no number: it counts as the worst so far.`;
}

export function totals(records: readonly EvaluationRecord[]): { images: number; evaluations: number } {
  return { images: records.reduce((sum, { numImages }) => sum + numImages, 0), evaluations: records.length };
}

/** Running time of all starts together. */
export function secondsSpent(records: readonly EvaluationRecord[]): number {
  return records.reduce((most, { atSeconds }) => Math.max(most, atSeconds), 0);
}

/** Images of an evaluation on a share of them. */
export function imagesOfShare(numImages: number, share: number): number {
  return Math.max(1, Math.round(numImages * share));
}

function affordable(
  { images, minutes, evaluations }: SearchBudget,
  spent: { images: number; evaluations: number },
  job: EvaluationJob<unknown>,
  seconds: number,
): boolean {
  if (images !== undefined && spent.images + job.numImages > images) return false;
  if (evaluations !== undefined && spent.evaluations + 1 > evaluations) return false;
  return minutes === undefined || seconds < 60 * minutes;
}

function jobOf<S>(
  { parametrisation, numImages, noise }: SearchRun<S>,
  index: number,
  candidate: Candidate,
): EvaluationJob<S> {
  return {
    index,
    settings: parametrisation.settings(candidate.point),
    numImages: imagesOfShare(numImages, candidate.share),
    seedBlock: noise === 'common' ? 0 : index,
  };
}

function recordOf(
  { numImages, noise, ledger }: Pick<SearchRun, 'numImages' | 'noise' | 'ledger'>,
  { phase, point, share }: Candidate,
  { index, value: told, stdError, seconds, elapsedSeconds }: EvaluationOutcome,
  secondsBefore: number,
): EvaluationRecord {
  const failed = !Number.isFinite(told);
  // A method is told numbers; this candidate must not come again, nor end a search that is well elsewhere.
  const value = failed ? worstOf(ledger.records, share) : told;
  if (value === undefined) {
    throw new SearchError('SEARCH_OBJECTIVE', `Evaluation ${index} (${phase}) gave ${told} instead of a number.`);
  }
  return {
    ...{ index, phase, point: [...point], share },
    numImages: imagesOfShare(numImages, share),
    seedBlock: noise === 'common' ? 0 : index,
    value,
    ...(failed ? { failed } : {}),
    ...(stdError === undefined || failed ? {} : { stdError }),
    seconds,
    atSeconds: secondsBefore + elapsedSeconds,
  };
}

/** A record belongs to the candidate at its place, or it is another search's. */
function checked(record: EvaluationRecord | undefined, candidate: Candidate): EvaluationRecord | undefined {
  if (record === undefined) return undefined;
  const same =
    record.phase === candidate.phase &&
    record.share === candidate.share &&
    record.point.length === candidate.point.length &&
    record.point.every((x, i) => x === candidate.point[i]);
  if (same) return record;
  throw new SearchError(
    'SEARCH_RECORD',
    `Evaluation ${record.index} of the record (${record.phase}) is not what this search asks for (${candidate.phase}): the record is another search's; choose another --out.`,
  );
}
