/**
 * Searches how a masked model is trained: the distribution Beta(α, β) of its mask ratios, by short trainings (AutoNAT, CVPR
 * 2024, section 4, which its released code leaves out). With rounds, in turn with the schedule: first the schedule of the
 * model at hand, then α and β for networks sampled by that schedule, then the schedule of the best network, and so on.
 *
 *   RUN/…                          without rounds: what search/search-ratios.ts leaves
 *   RUN/round-N-schedule/          with rounds: a search of the schedule, as `tessera search` leaves it
 *   RUN/round-N-training/          the search of α and β after it
 *   RUN/recipe.yaml, RUN/model/    the last round's result
 */

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig, type Strategy, strategySchema } from '@tessera/schedule';
import { openTokens, requireTokens } from '../data/tokens/open-tokens.ts';
import { familyOf } from '../models/registry.ts';
import type { MaskBeta, MaskRatioBounds } from '../search/mask-ratio-space.ts';
import type { SearchBudget } from '../search/run-search.ts';
import { SearchError } from '../search/search-error.ts';
import { chooseSampling, requireNullClass } from './choose-strategy.ts';
import type { PipelineEvent } from './events.ts';
import { flagName } from './flag-name.ts';
import { isOneOfSeveral } from './join-ranks.ts';
import { readModelFolder } from './model-folder.ts';
import { unguided } from './own-strategy.ts';
import { checkInnerFile, innerTraining } from './search/inner-training.ts';
import { parseTerms } from './search/objective-terms.ts';
import type { SearchOptions } from './search/resolve-search.ts';
import { type RatioMethod, type RatiosFound, searchRatios } from './search/search-ratios.ts';
import { search } from './search.ts';
import { dropsLabels } from './train-recipes.ts';
import { readTrainFile, type TrainFile } from './train-settings.ts';

export interface SearchTrainingOptions
  extends Pick<SearchOptions, 'objective' | 'reference' | 'maxReference' | 'inception' | 'batch' | 'signal'> {
  /** Model folder: the network's sizes, the weights to begin at, the tokenizer. */
  model: string;
  /** Token data sets to train on. */
  data: readonly string[];
  /** Run folder. */
  out: string;
  /** Optimizer steps of a training. */
  steps: number;
  /** A file of settings as `train --config` takes it: its recipe and its training stand for every training. */
  config?: string | undefined;
  /** Default 64. */
  globalBatch?: number | undefined;
  /** Default 1e-4. */
  learningRate?: number | undefined;
  /** Trainings begin at random weights instead of the model's. */
  fromScratch?: boolean | undefined;
  /** Where the search begins. Default: the config's, else (12, 3). */
  start?: MaskBeta | undefined;
  bounds?: Partial<MaskRatioBounds> | undefined;
  /** The schedule that trained networks are sampled with, as `sample --strategy`; with rounds: where its search begins. */
  strategy?: string | undefined;
  /** Default `trust-region`. */
  method?: RatioMethod | undefined;
  population?: number | undefined;
  /** Images of a measurement. Default 1000. */
  numImages?: number | undefined;
  /** Of the search over α and β, in each round; evaluations are trainings. */
  budget: SearchBudget;
  /** Of noise, candidates and trainings. Default 0. */
  seed?: number | undefined;
  /** See SearchOptions. */
  confirmBlocks?: number | undefined;
  /** Searches of the schedule, each before one of α and β. Default 0: the schedule stays. */
  rounds?: number | undefined;
  /** Images of a search of the schedule; needed with rounds. */
  scheduleImages?: number | undefined;
  /** Steps of the searched schedule. Default: those of the start. */
  numSteps?: number | undefined;
  /** Processes that measure schedules. */
  workers?: number | undefined;
}

const DEFAULT_METHOD: RatioMethod = 'trust-region';

export async function* searchTraining(options: SearchTrainingOptions): AsyncGenerator<PipelineEvent> {
  checkOptions(options);
  const { out, rounds = 0 } = options;
  const file = options.config === undefined ? {} : readTrainFile(options.config);
  checkInnerFile(file, options.config, readModelFolder(options.model).config);
  if (rounds > 0 && !dropsLabels(file.recipe ?? {})) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      'Rounds search guided schedules, and networks of a recipe without label drop cannot be guided: leave --rounds away, or give a label drop above 0.',
    );
  }
  if (rounds === 0) {
    const found = yield* searchOnce(options, file, { out, strategy: options.strategy, start: options.start });
    yield { kind: 'result', result: { out, ...found } };
    return;
  }
  let { model, strategy, start } = options;
  let found: RatiosFound | undefined;
  for (let round = 1; round <= rounds; round++) {
    const folders = ['schedule', 'training'].map((what) => join(out, `round-${round}-${what}`)) as [string, string];
    yield { kind: 'note', message: `Round ${round} of ${rounds}: the schedule, then the mask ratios.` };
    yield* scheduleSearch(options, { model, start: strategy, out: folders[0] });
    [strategy] = folders;
    found = yield* searchOnce(options, file, { out: folders[1], strategy, start });
    start = found.maskBeta;
    model = found.files.model;
  }
  const files = { recipe: join(out, 'recipe.yaml'), model: join(out, 'model') };
  cpSync(found!.files.recipe, files.recipe);
  cpSync(found!.files.model, files.model, { recursive: true });
  yield { kind: 'result', result: { out, ...found, files } };
}

function checkOptions(options: SearchTrainingOptions): void {
  const { budget, rounds = 0, scheduleImages, numSteps, workers, data, population, method = DEFAULT_METHOD } = options;
  if (budget.images === undefined && budget.minutes === undefined && budget.evaluations === undefined) {
    throw new SearchError('SEARCH_OPTIONS', 'Expected a budget: evaluations (trainings), minutes or images.');
  }
  if (isOneOfSeveral()) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      'A search of mask ratios is one process with all threads: run it without a launcher.',
    );
  }
  if (population !== undefined && method === 'coordinate') {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `--population belongs to trust-region and cma-es; the method is ${method}.`,
    );
  }
  if (data.length === 0) throw new SearchError('SEARCH_OPTIONS', 'Expected tokens to train on, got none.');
  if (rounds > 0 && scheduleImages === undefined) {
    throw new SearchError('SEARCH_OPTIONS', 'Rounds search the schedule too: expected a budget of images for it.');
  }
  const given = Object.entries({ scheduleImages, numSteps, workers }).find(([, value]) => value !== undefined);
  if (rounds === 0 && given !== undefined) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `${flagName(given[0])} belongs to the search of the schedule: give --rounds too.`,
    );
  }
}

/** Everything but its result, which is in its folder. */
async function* scheduleSearch(
  options: SearchTrainingOptions,
  { model, start, out }: { model: string; start: string | undefined; out: string },
): AsyncGenerator<PipelineEvent> {
  const { objective, reference, maxReference, inception, batch, signal, numImages, seed, numSteps, workers } = options;
  const running = search({
    ...{ model, out, start, numSteps, numImages, seed, workers, confirmBlocks: options.confirmBlocks },
    ...{ objective, reference, maxReference, inception, batch, signal },
    budget: { images: options.scheduleImages },
  });
  for await (const event of running) if (event.kind !== 'result') yield event;
}

async function* searchOnce(
  options: SearchTrainingOptions,
  file: TrainFile,
  place: { out: string; strategy: string | undefined; start: MaskBeta | undefined },
): AsyncGenerator<PipelineEvent, RatiosFound> {
  const { model, maxReference, inception, batch, signal, seed = 0 } = options;
  const description = readModelFolder(model);
  const { config, family } = description;
  if (familyOf(family).generation !== 'masked') {
    throw new SearchError('SEARCH_OPTIONS', `Mask ratios belong to masked models; ${model} is autoregressive.`);
  }
  // Whole and checked before the first training; the ratios are the search's.
  const whole = parseConfig(
    familyOf(family).recipe,
    { ...file.recipe, maskDistribution: 'beta' },
    `recipe of ${family}`,
  );
  const { maskBeta, maskDistribution: __, ...recipe } = whole as { maskBeta: MaskBeta; maskDistribution: string };
  const guided = chooseSampling({ strategy: place.strategy }, description.strategy, 'masked', model);
  const nullClass = dropsLabels(recipe);
  const chosen = nullClass || place.strategy !== undefined ? guided : unguided(guided);
  requireNullClass(chosen, nullClass, 'A network of this recipe');
  const { provenance: _, ...strategy } = chosen as Strategy;
  const data = openTokens(options.data);
  try {
    requireTokens(data, { ...config }, options.data[0]!, 'the model');
    return yield* searchRatios({
      ...{ model, description, data, out: place.out, recipe, signal },
      strategy: strategySchema.parse(strategy),
      objective: {
        ...{ model, terms: parseTerms(options.objective ?? 'fd-local'), reference: options.reference },
        ...{ maxReference, inception, seed, batch },
      },
      method: options.method ?? DEFAULT_METHOD,
      population: options.population,
      start: place.start ?? maskBeta,
      bounds: options.bounds ?? {},
      training: innerTraining(options, file),
      recompute: file.recompute ?? false,
      fromScratch: options.fromScratch ?? false,
      numImages: options.numImages ?? 1000,
      budget: options.budget,
      confirmBlocks: options.confirmBlocks ?? 4,
    });
  } finally {
    data.dispose();
  }
}
