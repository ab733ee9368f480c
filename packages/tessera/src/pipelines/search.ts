/**
 * Searches how a model is sampled: the schedule of a masked model, the settings of an autoregressive one. What it is comes
 * from search/resolve-search.ts, the loop from search/run-search.ts; here stand the record, who measures, and what is
 * written. The same command again goes on where it was, and with a larger budget further. Under a launcher the ranks
 * measure, and the first one writes.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { SamplingSettings } from '@tessera/schedule';
import { getNumThreads } from '@tessera/torch';
import { Ledger } from '../search/ledger.ts';
import { basePointIndex } from '../search/methods/finite-difference.ts';
import { startMethod } from '../search/methods.ts';
import type { Parametrisation } from '../search/parametrisation.ts';
import { bestOf, type Evaluators, failureNote, runSearch, type SearchBudget, totals } from '../search/run-search.ts';
import { SearchError } from '../search/search-error.ts';
import type { Ranks } from '../training/ranks.ts';
import { lockRun } from '../training/run-lock.ts';
import type { PipelineEvent } from './events.ts';
import { amongRanks, isOneOfSeveral } from './join-ranks.ts';
import { checkStrategyName, saveStrategy } from './named-strategy-files.ts';
import { type Confirmation, confirm } from './search/confirm.ts';
import { LocalEvaluators, ProcessEvaluators, RankEvaluators } from './search/evaluators.ts';
import { describeTerms } from './search/objective-terms.ts';
import { type OpenObjective, openObjective } from './search/open-objective.ts';
import { resolveSearch, type SearchOptions } from './search/resolve-search.ts';
import { provenanceOf, writeSearchFiles } from './search/search-files.ts';
import { joinSearch, type SearchPlan, searchPlanSchema } from './search/search-plan.ts';

export async function* search(options: SearchOptions): AsyncGenerator<PipelineEvent> {
  const { budget, workers = 1 } = options;
  if (budget.images === undefined && budget.minutes === undefined && budget.evaluations === undefined) {
    throw new SearchError('SEARCH_OPTIONS', 'Expected a budget: images, minutes or evaluations.');
  }
  if (isOneOfSeveral() && workers > 1) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `Under a launcher the ranks measure: start more of them, without workers (got ${workers}).`,
    );
  }
  if (options.saveAs !== undefined) checkStrategyName(options.saveAs);
  yield* amongRanks(async function* (ranks) {
    // One rank speaks.
    for await (const event of searchOn(options, ranks)) if (ranks.isFirst || event.kind === 'result') yield event;
  });
}

async function* searchOn(options: SearchOptions, ranks: Ranks): AsyncGenerator<PipelineEvent> {
  const { out, budget, seed = 0, signal, workers = 1, confirmBlocks = 4 } = options;
  const { parametrisation, plan, given } = await resolveSearch(options);
  const { method, numImages, noise, objective } = plan;
  await ranks.requireSame('search', JSON.stringify(plan));
  let unlock: (() => void) | undefined;
  let opened: OpenObjective | undefined;
  let evaluators: Evaluators | undefined;
  try {
    const ledger = await ledgerOfAll(ranks, () => {
      mkdirSync(out, { recursive: true });
      unlock = lockRun(out);
      joinSearch(out, plan, searchPlanSchema);
      return Ledger.open(join(out, 'evaluations.jsonl'));
    });
    yield {
      kind: 'stage',
      stage: 'search',
      message: `Searching by ${method} over ${parametrisation.space.names.length} numbers (${parametrisation.name}), objective ${describeTerms(objective.terms)} on ${numImages} images`,
    };
    if (workers === 1) opened = await openObjective(objective);
    const threads = Math.max(1, Math.floor(getNumThreads() / workers));
    if (opened === undefined) evaluators = new ProcessEvaluators(objective, { count: workers, threads, signal });
    else if (ranks.group === undefined) evaluators = new LocalEvaluators(opened.objective, signal);
    else evaluators = new RankEvaluators(opened.objective, ranks.group, signal);

    let best = Number.POSITIVE_INFINITY;
    const before = ledger.records.length;
    if (before > 0) yield { kind: 'note', message: `Going on after ${before} evaluations.` };
    yield { kind: 'note', message: '  evaluation      images         value  phase' };
    let [count, images] = [0, 0];
    const run = startMethod(method, parametrisation, { ...plan, seed });
    const running = runSearch({ method: run, parametrisation, evaluators, ledger, numImages, budget, noise });
    let next = await running.next();
    for (; next.done !== true; next = await running.next()) {
      const { index, phase, value, stdError, share, numImages: drawn } = next.value;
      count += 1;
      images += drawn;
      const improves = share === 1 && next.value.failed === undefined && value < best;
      if (next.value.failed !== undefined) yield { kind: 'note', message: failureNote(next.value) };
      if (improves) {
        best = value;
        const columns = [String(index).padStart(12), String(images).padStart(12), value.toPrecision(7).padStart(14)];
        const error = stdError === undefined ? '' : ` ± ${stdError.toPrecision(2)}`;
        yield { kind: 'note', message: `${columns.join('')}${error}  ${phase}` };
      }
      // Curves and best so far can be looked at, and sampled with, while the search runs; the original's points are all kept.
      const isWorthWriting = improves || (method === 'finite-difference' && basePointIndex(phase) !== undefined);
      if (isWorthWriting && ranks.isFirst && count > before) writeSoFar(options, { plan, parametrisation, ledger });
      yield progress(budget, { images, evaluations: count, seconds: next.value.atSeconds }, best);
      signal?.throwIfAborted();
    }
    const found = bestOf(ledger.records);
    if (found === undefined) {
      throw new SearchError(
        'SEARCH_OPTIONS',
        `The budget does not hold one evaluation of ${numImages} images: give more.`,
      );
    }
    if (next.value === 'done') yield { kind: 'note', message: `The method ${method} has nothing more to try.` };

    let confirmation: Confirmation | undefined;
    if (confirmBlocks > 0) {
      const settings = { start: given, best: parametrisation.settings(found.point) };
      const checked = await ledgerOfAll(ranks, () => Ledger.open(join(out, 'confirmation.jsonl')));
      const blocks = { numImages, blocks: confirmBlocks, key: String(found.index) };
      const confirming = confirm<SamplingSettings>(settings, { evaluators, ledger: checked, ...blocks });
      let step = await confirming.next();
      for (; step.done !== true; step = await confirming.next()) {
        yield { kind: 'progress', stage: 'confirm', done: step.value, total: 2 * confirmBlocks, unit: 'evaluations' };
        signal?.throwIfAborted();
      }
      confirmation = step.value;
    }
    yield* finish(options, ranks, { plan, parametrisation, ledger, confirmation });
  } finally {
    await evaluators?.dispose();
    opened?.dispose();
    unlock?.();
  }
}

/** The first rank's record. Others hold it in memory. */
async function ledgerOfAll(ranks: Ranks, open: () => Ledger): Promise<Ledger> {
  let ledger: Ledger | undefined;
  const records = await ranks.decide(() => {
    ledger = open();
    return ledger.records;
  });
  return ledger ?? new Ledger(undefined, records);
}

function writeSoFar(
  { out, budget }: SearchOptions,
  found: { plan: SearchPlan; parametrisation: Parametrisation; ledger: Ledger },
): void {
  const { plan, parametrisation, ledger } = found;
  const provenance = provenanceOf(plan, budget, ledger.records);
  const { records } = ledger;
  writeSearchFiles({ folder: out, plan, parametrisation, records, confirmation: undefined, provenance });
}

async function* finish(
  { out, saveAs, model, budget }: SearchOptions,
  ranks: Ranks,
  found: { plan: SearchPlan; parametrisation: Parametrisation; ledger: Ledger; confirmation: Confirmation | undefined },
): AsyncGenerator<PipelineEvent> {
  const { plan, parametrisation, ledger, confirmation } = found;
  const { records } = ledger;
  const provenance = provenanceOf(plan, budget, records, confirmation);
  const best = bestOf(records)!;
  const result = { value: best.value, evaluation: best.index, point: best.point, ...totals(records), confirmation };
  if (!ranks.isFirst) {
    yield { kind: 'result', result };
    return;
  }
  const files = writeSearchFiles({ folder: out, plan, parametrisation, records, confirmation, provenance });
  if (saveAs !== undefined) files.named = saveStrategy(model, saveAs, files.strategy!);
  for (const [what, path] of Object.entries(files)) yield { kind: 'file', path, what };
  if (confirmation !== undefined) {
    const { start, best: found, difference } = confirmation;
    const shown = ({ mean, stdError }: Confirmation['start']): string =>
      `${mean.toPrecision(5)}${Number.isNaN(stdError) ? '' : ` ± ${stdError.toPrecision(2)}`}`;
    yield {
      kind: 'note',
      message: `On unseen noise: start ${shown(start)}, best ${shown(found)}, difference ${shown(difference)} (mean ± standard error of ${start.values.length} blocks)`,
    };
    if (difference.mean > 0) {
      yield {
        kind: 'note',
        message: 'What was found is no better than the start there: go on with a larger budget, or keep the start.',
      };
    }
  }
  yield { kind: 'result', result: { out, ...result, files, provenance } };
}

/** Done and total in whatever of the budget is furthest used up. */
function progress(
  budget: SearchBudget,
  spent: { images: number; evaluations: number; seconds: number },
  best: number,
): PipelineEvent {
  const minutes = spent.seconds / 60;
  const parts = [
    { unit: 'images', done: spent.images, total: budget.images },
    { unit: 'evaluations', done: spent.evaluations, total: budget.evaluations },
    { unit: 'minutes', done: minutes, total: budget.minutes },
  ].flatMap(({ unit, done, total }) => (total === undefined ? [] : [{ unit, done, total }]));
  const used = parts.reduce((most, part) => (part.done / part.total > most.done / most.total ? part : most));
  const detail = Number.isFinite(best) ? { detail: `best ${best.toPrecision(5)}` } : {};
  return { kind: 'progress', stage: 'search', ...used, ...detail };
}
