/**
 * What a search is, from its options: the numbers that it moves, what it measures, where it begins. All wrong options are
 * refused here, before a network is loaded.
 */

import { join, resolve } from 'node:path';
import {
  type AutoregressiveSettings,
  autonatInitialStrategy,
  autoregressiveSettings,
  isAutoregressive,
  type SamplingSettings,
  type Strategy,
} from '@tessera/schedule';
import { familyOf } from '../../models/registry.ts';
import {
  AUTOREGRESSIVE_VARIABLES,
  type AutoregressiveBounds,
  autoregressiveSpace,
} from '../../search/autoregressive-space.ts';
import { smallestShare } from '../../search/methods/successive-halving.ts';
import { type MethodName, type MethodOptions, startMethod } from '../../search/methods.ts';
import { fullSchedule, type ListBounds, type Parametrisation, resolveBounds } from '../../search/parametrisation.ts';
import { imagesOfShare, type SearchBudget } from '../../search/run-search.ts';
import { SearchError } from '../../search/search-error.ts';
import { smoothSchedule } from '../../search/smooth-schedule.ts';
import { LIST_NAMES, listsOf, resample, searchFrame } from '../../search/variables.ts';
import { chooseSampling } from '../choose-strategy.ts';
import { flagName } from '../flag-name.ts';
import { type ModelDescription, readModelFolder } from '../model-folder.ts';
import { fewestImages, parseTerms } from './objective-terms.ts';
import type { ObjectiveDescription } from './open-objective.ts';
import { hashModel, hashReference, type SearchPlan } from './search-plan.ts';

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
  /** Default `trust-region`. */
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
  /** Also kept in the model folder under this name, for `sample --strategy NAME`. */
  saveAs?: string | undefined;
  signal?: AbortSignal | undefined;
}

const DEFAULT_METHOD: MethodName = 'trust-region';

export interface ResolvedSearch {
  plan: SearchPlan;
  parametrisation: Parametrisation;
  /** The start as it was given, which a parametrisation of few numbers may only come near. */
  given: SamplingSettings;
}

export async function resolveSearch(options: SearchOptions): Promise<ResolvedSearch> {
  const { model, method = DEFAULT_METHOD, numImages = 1000, seed = 0, reference } = options;
  checkMethodOptions(options, method);
  const folder = readModelFolder(model);
  const start = chooseStart(options, method, folder);
  const bounds = boundsOf(options, folder);
  const { parametrisation, given } = isAutoregressive(start)
    ? autoregressiveSearch(options, start, folder, bounds)
    : scheduleSearch(options, start, folder, bounds);
  const terms = parseTerms(options.objective ?? 'fd-local');
  if (method === 'halving') checkFirstRung(numImages, fewestImages(terms), options.population);
  const objective: ObjectiveDescription = {
    ...{ model, terms, reference, maxReference: options.maxReference, inception: options.inception },
    ...{ seed, batch: options.batch },
  };
  const { population, ratioRate, otherRate, momentum, clip, maxUpdates } = options;
  checkBudget(options, numImages, method);
  checkPlaces(options);
  const plan: SearchPlan = {
    formatVersion: 1,
    method,
    parametrisation: parametrisation.name as SearchPlan['parametrisation'],
    knots: options.knots,
    numSteps: isAutoregressive(start) ? undefined : (options.numSteps ?? start.numSteps),
    start,
    bounds: bounds as SearchPlan['bounds'],
    objective,
    modelHash: await hashModel(model),
    referenceHash: reference === undefined ? undefined : await hashReference(reference),
    inceptionHash: options.inception === undefined ? undefined : await hashReference(options.inception),
    numImages,
    noise: options.noise ?? (method === 'finite-difference' ? 'fresh' : 'common'),
    ...{ population, ratioRate, otherRate, momentum, clip, maxUpdates },
  };
  // Refuses a method that does not go with the numbers.
  startMethod(method, parametrisation, { ...plan, seed });
  return { plan, parametrisation, given };
}

/** Of halving the first evaluations are smaller; what its budget holds shows later. */
function checkBudget({ budget }: SearchOptions, numImages: number, method: MethodName): void {
  if (method === 'halving' || budget.images === undefined || budget.images >= numImages) return;
  throw new SearchError(
    'SEARCH_OPTIONS',
    `The budget of ${budget.images} does not hold one evaluation of ${numImages} images: give more.`,
  );
}

/** The start must still be there when the same command goes on. */
function checkPlaces({ start, saveAs, out }: SearchOptions): void {
  if (start === undefined) return;
  const written = [out, ...['strategy.yaml', 'strategy.autonat.yaml'].map((name) => join(out, name))];
  if (start === saveAs) {
    throw new SearchError('SEARCH_OPTIONS', `--save-as ${saveAs} would replace --start ${start}: choose another name.`);
  }
  if (written.some((path) => resolve(path) === resolve(start))) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `The search in ${out} would replace its --start ${start}: choose another --out.`,
    );
  }
}

function checkMethodOptions(options: SearchOptions, method: MethodName): void {
  const { population, ratioRate, otherRate, momentum, clip, maxUpdates } = options;
  const given = Object.entries({ ratioRate, otherRate, momentum, clip, maxUpdates }).find(
    ([, value]) => value !== undefined,
  );
  if (method !== 'finite-difference' && given !== undefined) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `${flagName(given[0])} belongs to the method finite-difference; this one is ${method}.`,
    );
  }
  if (population !== undefined && (method === 'coordinate' || method === 'finite-difference')) {
    throw new SearchError(
      'SEARCH_OPTIONS',
      `--population belongs to trust-region, cma-es and halving; the method is ${method}.`,
    );
  }
}

/** The first rung of halving must have images enough for the objective. */
function checkFirstRung(numImages: number, fewest: number, population: number | undefined): void {
  const share = smallestShare(population);
  if (numImages * share >= 1 && imagesOfShare(numImages, share) >= fewest) return;
  // Shares are rounded.
  const least = Math.ceil(Math.max(1, fewest - 0.5) / share);
  throw new SearchError(
    'SEARCH_OPTIONS',
    `Halving begins on 1/${Math.round(1 / share)} of the images, and this objective needs ${fewest} there: expected at least ${least} images an evaluation, got ${numImages}.`,
  );
}

type Bounds = Partial<Record<string, readonly [number, number]>>;

/** Those asked for; of a network trained without a null class, guidance stays off. */
function boundsOf({ bounds = {}, model }: SearchOptions, folder: ModelDescription): Bounds {
  const isMasked = familyOf(folder.family).generation === 'masked';
  const names: readonly string[] = isMasked ? LIST_NAMES : AUTOREGRESSIVE_VARIABLES;
  const strange = Object.keys(bounds).find((name) => !names.includes(name));
  if (strange !== undefined) {
    throw new SearchError('SEARCH_BOUNDS', `Expected bounds of ${names.join(', ')}, got those of ${strange}.`);
  }
  if (folder.nullClass && !('conditionDropout' in folder.config && folder.config.conditionDropout === 0)) return bounds;
  const guidance = isMasked ? 'guidance' : 'guidanceScale';
  if (guidance in bounds) {
    throw new SearchError(
      'SEARCH_BOUNDS',
      `${model} was trained without a null class, so it cannot be guided: leave the bounds of ${guidance} away.`,
    );
  }
  return { ...bounds, [guidance]: isMasked ? [0, 0] : [1, 1] };
}

function autoregressiveSearch(
  options: SearchOptions,
  start: AutoregressiveSettings,
  { config }: ModelDescription,
  bounds: Bounds,
): Pick<ResolvedSearch, 'parametrisation' | 'given'> {
  const given = (['parametrisation', 'knots', 'numSteps'] as const).find((name) => options[name] !== undefined);
  if (given !== undefined) {
    throw new SearchError('SEARCH_OPTIONS', `${flagName(given)} belongs to masked models; this one is autoregressive.`);
  }
  const { gridSize, codebookSize } = config;
  const sizes = { seqLen: gridSize ** 2, codebookSize };
  const parametrisation = autoregressiveSpace(start, sizes, bounds as Partial<AutoregressiveBounds>);
  return { parametrisation, given: parametrisation.settings(parametrisation.space.start) };
}

function scheduleSearch(
  { parametrisation, knots, numSteps, method }: SearchOptions,
  start: Strategy,
  { config, nullClass }: ModelDescription,
  bounds: Bounds,
): Pick<ResolvedSearch, 'parametrisation' | 'given'> {
  const frame = searchFrame(start.order);
  const steps = numSteps ?? start.numSteps;
  // The original clamps ratios to 0.99 after updates alone: from T = 12 on its start is above that.
  const usual = method === 'finite-difference' ? { ratios: [0, 1] as const } : {};
  const box = resolveBounds({ ...usual, ...(bounds as Partial<ListBounds>) });
  const lists = listsOf(start, config.gridSize ** 2);
  const whole = fullSchedule(resample(lists, steps), frame, box);
  const given = steps === start.numSteps && nullClass ? start : whole.settings(whole.space.start);
  const kind = parametrisation ?? (method === 'finite-difference' || steps < 2 ? 'full' : 'smooth');
  if (kind === 'smooth')
    return { parametrisation: smoothSchedule(lists, frame, box, { numSteps: steps, knots }), given };
  if (knots !== undefined) {
    throw new SearchError('SEARCH_OPTIONS', '--knots belongs to the smooth parametrisation; this one is full.');
  }
  return { parametrisation: whole, given };
}

function chooseStart(
  { start, model, numSteps }: SearchOptions,
  method: MethodName,
  { family, strategy: own }: ModelDescription,
): SamplingSettings {
  const { generation } = familyOf(family);
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
