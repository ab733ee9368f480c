/**
 * Searches how a model is sampled: the schedule of a masked model, the settings of an autoregressive one. The loop is
 * search/run-search.ts; here stand the model, the objective, who measures, and what is written. The same command again
 * goes on where it was, and with a larger budget further.
 */

import { join } from 'node:path';
import {
  type AutoregressiveSettings,
  autonatInitialStrategy,
  autoregressiveSettings,
  isAutoregressive,
  type SamplingSettings,
  type Strategy,
} from '@tessera/schedule';
import { broadcastObject, getNumThreads, type ProcessGroup } from '@tessera/torch';
import { familyOf } from '../models/registry.ts';
import { type AutoregressiveBounds, autoregressiveSpace } from '../search/autoregressive-space.ts';
import { Ledger } from '../search/ledger.ts';
import { type MethodName, type MethodOptions, startMethod } from '../search/methods.ts';
import { fullSchedule, type ListBounds, type Parametrisation, resolveBounds } from '../search/parametrisation.ts';
import { bestOf, runSearch, type SearchBudget, totals } from '../search/run-search.ts';
import { SearchError } from '../search/search-error.ts';
import { smoothSchedule } from '../search/smooth-schedule.ts';
import { listsOf, resample, searchFrame } from '../search/variables.ts';
import { chooseSampling } from './choose-strategy.ts';
import type { PipelineEvent } from './events.ts';
import { readModelFolder } from './model-folder.ts';
import { checkStrategyName, saveStrategy } from './named-strategy-files.ts';
import { type Confirmation, confirm } from './search/confirm.ts';
import { LocalEvaluators, ProcessEvaluators, RankEvaluators } from './search/evaluators.ts';
import { describeTerms, parseTerms } from './search/objective-terms.ts';
import { type ObjectiveDescription, openObjective } from './search/open-objective.ts';
import { provenanceOf, writeSearchFiles } from './search/search-files.ts';
import { hashModel, joinSearch, type SearchPlan, searchPlanSchema } from './search/search-plan.ts';

export interface SearchOptions
  extends Pick<MethodOptions, 'population' | 'ratioRate' | 'otherRate' | 'momentum' | 'clip' | 'maxUpdates'> {
  /** Model folder. */
  model: string;
  /** Run folder. */
  out: string;
  /** As parseTerms reads it; default `fd-local`. */
  objective?: string | undefined;
  /** What the objective compares with. */
  reference?: string | undefined;
  maxReference?: number | undefined;
  /** Weights of the FID's network. */
  inception?: string | undefined;
  /** Default `cma-es`. */
  method?: MethodName | undefined;
  /** Of masked models: `full`, the 4T − 2 numbers, or `smooth`, curves through a few knots. Default: by the method. */
  parametrisation?: 'full' | 'smooth' | undefined;
  knots?: number | undefined;
  /** Default: those of the start. */
  numSteps?: number | undefined;
  /** Strategy to begin at: as `sample --strategy`, or `autonat-initial`; default: the model's own, for finite differences the original's. */
  start?: string | undefined;
  bounds?: Partial<ListBounds> | Partial<AutoregressiveBounds> | undefined;
  /** Images of a whole evaluation. Default 1000. */
  numImages?: number | undefined;
  budget: SearchBudget;
  /** Default 0. */
  seed?: number | undefined;
  /** Default `common`; for finite differences `fresh`, as in the original. */
  noise?: 'common' | 'fresh' | undefined;
  /** Blocks of unseen noise on which start and best are compared at the end; 0: none. Default 4. */
  confirmBlocks?: number | undefined;
  /** Images at a time. */
  batch?: number | undefined;
  /** Processes that measure, each with its own model. Default 1: this one. */
  workers?: number | undefined;
  /** Ranks that measure; every rank runs this pipeline with the same options, rank 0 writes. */
  group?: ProcessGroup | undefined;
  /** Also kept in the model folder under this name, for `sample --strategy NAME`. */
  saveAs?: string | undefined;
  signal?: AbortSignal | undefined;
}

export async function* search(options: SearchOptions): AsyncGenerator<PipelineEvent> {
  const { out, budget, seed = 0, signal, group, workers = 1, confirmBlocks = 4 } = options;
  if (budget.images === undefined && budget.minutes === undefined && budget.evaluations === undefined) {
    throw new SearchError('SEARCH_OPTIONS', 'Expected a budget: images, minutes or evaluations.');
  }
  if (group !== undefined && workers > 1) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `Under a launcher the ranks measure: start more of them, without workers (got ${workers}).`,
    );
  }
  if (options.saveAs !== undefined) checkStrategyName(options.saveAs);
  const { parametrisation, plan } = await planSearch(options);
  const isWriter = group === undefined || group.rank === 0;
  if (isWriter) joinSearch(out, plan, searchPlanSchema);
  const records = isWriter ? Ledger.open(join(out, 'evaluations.jsonl')) : undefined;
  // Other ranks hold the record in memory; rank 0 writes.
  const ledger = group === undefined ? records! : (records ?? new Ledger(undefined));
  if (group !== undefined) {
    const known = await broadcastObject(group, records?.records);
    if (records === undefined) for (const record of known) ledger.append(record);
  }
  const { method, numImages, noise, objective: description } = plan;
  yield {
    kind: 'stage',
    stage: 'search',
    message: `Searching by ${method} over ${parametrisation.space.names.length} numbers (${parametrisation.name}), objective ${describeTerms(description.terms)} on ${numImages} images`,
  };
  const opened = workers > 1 && group === undefined ? undefined : await openObjective(description);
  const evaluators =
    opened === undefined
      ? new ProcessEvaluators(description, {
          count: workers,
          threads: Math.max(1, Math.floor(getNumThreads() / workers)),
          signal,
        })
      : group === undefined
        ? new LocalEvaluators(opened.objective, signal)
        : new RankEvaluators(opened.objective, group, signal);
  try {
    const run = startMethod(method, parametrisation, { ...plan, seed });
    let best = Number.POSITIVE_INFINITY;
    const before = ledger.records.length;
    if (before > 0) yield { kind: 'note', message: `Going on after ${before} evaluations.` };
    yield { kind: 'note', message: '  evaluation      images         value  phase' };
    let [count, images] = [0, 0];
    const running = runSearch({ method: run, parametrisation, evaluators, ledger, numImages, budget, noise });
    let next = await running.next();
    for (; next.done !== true; next = await running.next()) {
      const { index, phase, value, share, numImages: drawn } = next.value;
      count += 1;
      images += drawn;
      if (share === 1 && value < best) {
        best = value;
        const columns = [String(index).padStart(12), String(images).padStart(12), value.toPrecision(7).padStart(14)];
        yield { kind: 'note', message: `${columns.join('')}  ${phase}` };
        // Curves and best so far can be looked at, and sampled with, while the search runs.
        if (isWriter && count > before) writeSoFar(options, { plan, parametrisation, ledger });
      }
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
      const settings = {
        start: parametrisation.settings(parametrisation.space.start),
        best: parametrisation.settings(found.point),
      };
      const path = join(out, 'confirmation.jsonl');
      const checked = isWriter ? Ledger.open(path) : new Ledger(undefined);
      if (group !== undefined) {
        const known = await broadcastObject(group, group.rank === 0 ? checked.records : undefined);
        if (group.rank !== 0) for (const record of known) checked.append(record);
      }
      const options = { evaluators, ledger: checked, numImages, blocks: confirmBlocks, key: String(found.index) };
      const confirming = confirm(settings, options);
      let step = await confirming.next();
      for (; step.done !== true; step = await confirming.next()) {
        yield { kind: 'progress', stage: 'confirm', done: step.value, total: 2 * confirmBlocks, unit: 'evaluations' };
        signal?.throwIfAborted();
      }
      confirmation = step.value;
    }
    yield* finish(options, { plan, parametrisation, ledger, confirmation });
  } finally {
    await evaluators.dispose();
    opened?.dispose();
  }
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
  { out, group, saveAs, model, budget }: SearchOptions,
  found: { plan: SearchPlan; parametrisation: Parametrisation; ledger: Ledger; confirmation: Confirmation | undefined },
): AsyncGenerator<PipelineEvent> {
  const { plan, parametrisation, ledger, confirmation } = found;
  const { records } = ledger;
  const provenance = provenanceOf(plan, budget, records, confirmation);
  const best = bestOf(records)!;
  const result = { value: best.value, evaluation: best.index, point: best.point, ...totals(records), confirmation };
  if (group !== undefined && group.rank !== 0) {
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

async function planSearch(options: SearchOptions): Promise<{ parametrisation: Parametrisation; plan: SearchPlan }> {
  const { model, method = 'cma-es', numImages = 1000, seed = 0, bounds = {} } = options;
  const folder = readModelFolder(model);
  const { generation } = familyOf(folder.family);
  const start = chooseStart(options, method, folder.strategy, generation);
  const parametrisation = isAutoregressive(start)
    ? autoregressiveSpace(start, sizesOf(folder.config), { ...unguided(folder.config), ...bounds })
    : scheduleSpace(options, method, start, sizesOf(folder.config));
  if (isAutoregressive(start)) refuseMaskedOptions(options);
  const objective: ObjectiveDescription = {
    model,
    terms: parseTerms(options.objective ?? 'fd-local'),
    reference: options.reference,
    maxReference: options.maxReference,
    inception: options.inception,
    seed,
    batch: options.batch,
  };
  const { population, ratioRate, otherRate, momentum, clip, maxUpdates } = options;
  if (method !== 'finite-difference') {
    const given = Object.entries({ ratioRate, otherRate, momentum, clip, maxUpdates }).find(
      ([, value]) => value !== undefined,
    );
    if (given !== undefined) {
      throw new SearchError(
        'SEARCH_OPTIONS',
        `${given[0]} belongs to the method finite-difference; this one is ${method}.`,
      );
    }
  }
  if (population !== undefined && method !== 'cma-es' && method !== 'halving') {
    throw new SearchError('SEARCH_OPTIONS', `A population belongs to cma-es and halving; the method is ${method}.`);
  }
  const numSteps = isAutoregressive(start) ? undefined : (options.numSteps ?? start.numSteps);
  const plan: SearchPlan = {
    formatVersion: 1,
    method,
    parametrisation: parametrisation.name as SearchPlan['parametrisation'],
    knots: options.knots,
    numSteps,
    start,
    bounds: bounds as SearchPlan['bounds'],
    objective,
    modelHash: await hashModel(model),
    numImages,
    noise: options.noise ?? (method === 'finite-difference' ? 'fresh' : 'common'),
    ...{ population, ratioRate, otherRate, momentum, clip, maxUpdates },
  };
  return { parametrisation, plan };
}

function chooseStart(
  { start, model, numSteps }: SearchOptions,
  method: MethodName,
  own: SamplingSettings,
  generation: 'masked' | 'autoregressive',
): SamplingSettings {
  if (generation === 'autoregressive') {
    const { provenance: _, ...settings } = chooseSampling(
      { strategy: start },
      own,
      generation,
      model,
    ) as AutoregressiveSettings;
    return autoregressiveSettings(settings);
  }
  const steps = numSteps ?? (own as Strategy).numSteps;
  if (start === 'autonat-initial' || (start === undefined && method === 'finite-difference')) {
    return autonatInitialStrategy(steps);
  }
  // Formulas are made for the steps wanted; lists are stretched to them.
  const isFormula = start === 'enat' || start === 'cosine' || start === 'halton';
  const { provenance: _, ...strategy } = chooseSampling(
    { strategy: start, ...(isFormula ? { numSteps: steps } : {}) },
    own,
    generation,
    model,
  ) as Strategy;
  return strategy;
}

function scheduleSpace(
  { parametrisation, knots, numSteps, bounds }: SearchOptions,
  method: MethodName,
  start: Strategy,
  { seqLen }: { seqLen: number },
): Parametrisation {
  const frame = searchFrame(start.order);
  const steps = numSteps ?? start.numSteps;
  const box = resolveBounds(bounds as Partial<ListBounds>);
  const lists = listsOf(start, seqLen);
  const kind = parametrisation ?? (method === 'finite-difference' || steps < 2 ? 'full' : 'smooth');
  if (kind === 'smooth') return smoothSchedule(lists, frame, box, { numSteps: steps, knots });
  if (knots !== undefined) {
    throw new SearchError('SEARCH_OPTIONS', 'knots belong to the smooth parametrisation; this one is full.');
  }
  return fullSchedule(resample(lists, steps), frame, box);
}

/** A network trained without a null class cannot be guided. */
function unguided(config: object): Partial<AutoregressiveBounds> {
  const cannot = 'conditionDropout' in config && config.conditionDropout === 0;
  return cannot ? { guidanceScale: [1, 1] } : {};
}

function refuseMaskedOptions(options: SearchOptions): void {
  const given = (['parametrisation', 'knots', 'numSteps'] as const).find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new SearchError('SEARCH_OPTIONS', `${given} belongs to masked models; this one is autoregressive.`);
}

function sizesOf({ gridSize, codebookSize }: { gridSize: number; codebookSize: number }) {
  return { seqLen: gridSize ** 2, codebookSize };
}
