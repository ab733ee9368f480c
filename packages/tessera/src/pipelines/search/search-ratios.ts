/**
 * One search over the distribution of training's mask ratios, under a fixed schedule: the plan, the loop, the files.
 *
 *   RUN/search.json         what the search is; a later start must come to the same
 *   RUN/evaluations.jsonl   a line a training (search/ledger.ts); points are ln α, ln β
 *   RUN/inner/              run folders of the trainings: the first's, the best one's and the one under way
 *   RUN/recipe.yaml         the result, as `train --config` takes it
 *   RUN/model/              the network of the best training, with the schedule
 *   RUN/report.html         curve and table
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Provenance, type Strategy, strictConfig } from '@tessera/schedule';
import { stringify as stringifyYaml } from 'yaml';
import { z } from 'zod';
import type { OpenedTokens } from '../../data/tokens/open-tokens.ts';
import { type EvaluationRecord, Ledger } from '../../search/ledger.ts';
import {
  type MaskBeta,
  type MaskRatioBounds,
  type MaskRatioSpace,
  maskRatioSpace,
} from '../../search/mask-ratio-space.ts';
import { startMethod } from '../../search/methods.ts';
import { bestOf, failureNote, runSearch, type SearchBudget, totals } from '../../search/run-search.ts';
import { SearchError } from '../../search/search-error.ts';
import type { TrainingConfig } from '../../training/config.ts';
import { lockRun } from '../../training/run-lock.ts';
import type { PipelineEvent } from '../events.ts';
import { type ModelDescription, writeModelFolder } from '../model-folder.ts';
import { writeReport } from '../report.ts';
import { ToldEvents } from '../told-events.ts';
import { dropsLabels } from '../train-recipes.ts';
import { type Confirmation, confirm } from './confirm.ts';
import { describeTerms } from './objective-terms.ts';
import { type ObjectiveDescription, type OpenObjective, objectiveSchema, openObjective } from './open-objective.ts';
import { confirmationSection, describeBudget, progressCharts, round, writeWhole } from './search-files.ts';
import { hashModel, hashReference, joinSearch } from './search-plan.ts';
import { TrainingEvaluators } from './training-evaluator.ts';

/** Those that manage with few evaluations. */
export const RATIO_METHODS = ['trust-region', 'coordinate', 'cma-es'] as const;
export type RatioMethod = (typeof RATIO_METHODS)[number];

export interface RatioSearch {
  /** Model folder: the network's sizes, the weights to begin at, the tokenizer. */
  model: string;
  description: ModelDescription;
  data: OpenedTokens;
  out: string;
  /** The schedule that trained networks are sampled with. */
  strategy: Strategy;
  objective: ObjectiveDescription;
  method: RatioMethod;
  population: number | undefined;
  start: MaskBeta;
  bounds: Partial<MaskRatioBounds>;
  /** Of the family, but for the mask ratios. */
  recipe: object;
  training: TrainingConfig;
  /** Of every training: blocks are run again in the backward pass. */
  recompute: boolean;
  fromScratch: boolean;
  numImages: number;
  budget: SearchBudget;
  confirmBlocks: number;
  signal: AbortSignal | undefined;
}

export interface RatiosFound {
  maskBeta: [number, number];
  value: number;
  evaluations: number;
  images: number;
  confirmation: Confirmation | undefined;
  files: { recipe: string; model: string; report: string };
}

const planSchema = strictConfig({
  formatVersion: z.literal(1),
  kind: z.literal('training'),
  method: z.enum(RATIO_METHODS),
  population: z.int().min(2).optional(),
  start: z.tuple([z.number(), z.number()]),
  bounds: z.record(z.string(), z.tuple([z.number(), z.number()])),
  strategy: z.unknown(),
  objective: objectiveSchema,
  /** SHA-256 of the weights that trainings begin at, and of the tokenizer's. */
  modelHash: z.string(),
  referenceHash: z.string().optional(),
  inceptionHash: z.string().optional(),
  fromScratch: z.boolean(),
  /** What tells the tokens from others. */
  data: z.unknown(),
  recipe: z.unknown(),
  training: z.unknown(),
  numImages: z.int().min(1),
});
type RatioPlan = z.output<typeof planSchema>;

export async function* searchRatios(options: RatioSearch): AsyncGenerator<PipelineEvent, RatiosFound> {
  const { model, out, data, strategy, method, start, training, numImages, budget, confirmBlocks, signal } = options;
  const ratios = maskRatioSpace(start, options.bounds);
  const { family } = options.description;
  const plan = await planOf(options);
  mkdirSync(out, { recursive: true });
  const unlock = lockRun(out);
  let opened: OpenObjective | undefined;
  try {
    joinSearch(out, plan, planSchema);
    const ledger = Ledger.open(join(out, 'evaluations.jsonl'));
    const objective = describeTerms(plan.objective.terms);
    const opening = `Searching by ${method} over α and β of the mask ratios: trainings of ${training.totalSteps} steps, ${objective} on ${numImages} images`;
    yield { kind: 'stage', stage: 'search', message: opening };
    opened = await openObjective(plan.objective);
    const told = new ToldEvents();
    const inner = {
      ...{ folder: join(out, 'inner'), family, recipe: options.recipe, training, data },
      recompute: options.recompute,
      initFrom: options.fromScratch ? undefined : model,
    };
    const evaluators = new TrainingEvaluators(opened, strategy, inner, told.tell, signal);
    const settingsOf = (record: EvaluationRecord) => ratios.settings(record.point);
    const before = ledger.records.length;
    if (before > 0) yield { kind: 'note', message: `Going on after ${before} trainings.` };
    yield { kind: 'note', message: '    training         alpha          beta         value' };
    const run = startMethod(method, ratios, { seed: plan.objective.seed, population: options.population });
    const loop = { method: run, parametrisation: ratios, evaluators, ledger, numImages, budget };
    const running = runSearch({ ...loop, noise: 'common' });
    let next = yield* told.during(running.next());
    for (let count = 1; next.done !== true; count++, next = yield* told.during(running.next())) {
      const { index, value, failed } = next.value;
      if (failed !== undefined) yield { kind: 'note', message: failureNote(next.value) };
      const [alpha, beta] = settingsOf(next.value).maskBeta;
      const columns = [String(index), alpha.toPrecision(5), beta.toPrecision(5), value.toPrecision(7)];
      const mark = bestOf(ledger.records)?.index === index ? '  best' : '';
      yield { kind: 'note', message: `${columns.map((text) => text.padStart(12)).join('  ')}${mark}` };
      // Not while the record is read again: the training that a kill cut short goes on.
      if (count > before) evaluators.keepOnly(firstAndBest(ledger.records).map(settingsOf));
      writePage(out, plan, ledger.records, ratios);
      signal?.throwIfAborted();
    }
    const best = bestOf(ledger.records);
    if (best === undefined) {
      throw new SearchError(
        'SEARCH_OPTIONS',
        `The budget does not hold one training and ${numImages} images: give more.`,
      );
    }
    let confirmation: Confirmation | undefined;
    if (confirmBlocks > 0) {
      const settings = { start: ratios.settings(ratios.space.start), best: settingsOf(best) };
      const record = Ledger.open(join(out, 'confirmation.jsonl'));
      const blocks = { numImages, blocks: confirmBlocks, key: String(best.index) };
      const confirming = confirm(settings, { evaluators, ledger: record, ...blocks });
      let step = yield* told.during(confirming.next());
      for (; step.done !== true; step = yield* told.during(confirming.next())) signal?.throwIfAborted();
      confirmation = step.value;
    }
    // Its network is what the model folder is to hold.
    yield* told.during(evaluators.train(settingsOf(best)));
    const { maskBeta } = settingsOf(best);
    const found = { maskBeta, value: best.value, ...totals(ledger.records), confirmation };
    const provenance = { ...provenanceOf(plan, found), budget: describeBudget(budget) };
    const files = {
      recipe: join(out, 'recipe.yaml'),
      model: join(out, 'model'),
      report: writePage(out, plan, ledger.records, ratios, { provenance, confirmation }),
    };
    writeWhole(files.recipe, stringifyYaml({ recipe: { maskDistribution: 'beta', maskBeta }, provenance }));
    const card = `# Of a search\n\nA short training with mask ratios from Beta(${maskBeta.join(', ')}), by \`tessera search-training\`.\n`;
    const { imageSize, model: network, tokenizer, classes } = opened.folder;
    const nullClass = dropsLabels(options.recipe);
    writeModelFolder(files.model, { imageSize, model: network, tokenizer, strategy, classes, nullClass, card });
    for (const [what, path] of Object.entries(files)) yield { kind: 'file', path, what };
    return { ...found, files };
  } finally {
    opened?.dispose();
    unlock();
  }
}

async function planOf(options: RatioSearch): Promise<RatioPlan> {
  const { method, population, start, strategy, objective, fromScratch, data, recipe, training, numImages } = options;
  return {
    formatVersion: 1,
    kind: 'training',
    method,
    ...(population === undefined ? {} : { population }),
    start: [...start],
    bounds: options.bounds as RatioPlan['bounds'],
    strategy,
    objective,
    modelHash: await hashModel(options.model),
    referenceHash: objective.reference === undefined ? undefined : await hashReference(objective.reference),
    inceptionHash: objective.inception === undefined ? undefined : await hashReference(objective.inception),
    fromScratch,
    data: data.identity,
    recipe,
    training,
    numImages,
  };
}

/** The start's training and the best one's are measured again at the end. */
function firstAndBest(records: readonly EvaluationRecord[]): EvaluationRecord[] {
  return records.filter((record) => record.index === 0 || record === bestOf(records));
}

/** Curve and table, also while the search runs. */
function writePage(
  out: string,
  plan: RatioPlan,
  records: readonly EvaluationRecord[],
  { settings }: MaskRatioSpace,
  end: { provenance?: Provenance; confirmation?: Confirmation | undefined } = {},
): string {
  const path = join(out, 'report.html');
  const rows = [...records]
    .sort((a, b) => a.index - b.index)
    .map(({ index, phase, point, value }): [number, string, number, number, number, number] => {
      const [alpha, beta] = settings(point).maskBeta;
      return [index, phase, round(alpha), round(beta), round(alpha / (alpha + beta)), round(value)];
    });
  writeReport(path, {
    title: `Search of the training of ${plan.objective.model}`,
    summary: Object.entries(end.provenance ?? {}).map(([name, value]) => [name, String(value)]),
    sections: [
      { heading: 'Best so far', charts: progressCharts(records) },
      ...(end.confirmation === undefined ? [] : [confirmationSection(end.confirmation)]),
      {
        heading: 'Trainings',
        tables: [{ header: ['training', 'phase', 'alpha', 'beta', 'mean ratio', 'value'], rows }],
      },
    ],
  });
  return path;
}

function provenanceOf(plan: RatioPlan, found: Omit<RatiosFound, 'files'>): Provenance {
  const { objective, modelHash, method, fromScratch, numImages } = plan;
  const { totalSteps, globalBatch, seed } = plan.training as TrainingConfig;
  const { value, evaluations, images, confirmation } = found;
  return {
    madeBy: 'tessera search-training',
    ...{ model: objective.model, modelHash, fromScratch, method },
    objective: describeTerms(objective.terms),
    ...(objective.reference === undefined ? {} : { reference: objective.reference }),
    ...{ seed: objective.seed, trainingSeed: seed, steps: totalSteps, globalBatch },
    ...{ numImages, images, evaluations, value },
    ...(confirmation === undefined
      ? {}
      : { heldOutValue: confirmation.best.mean, heldOutStart: confirmation.start.mean }),
  };
}
