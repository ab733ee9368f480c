/**
 * The strategy of a generation: the model's own, a named one, or a file's (ours, or AutoNAT's yaml as it is), with
 * single settings changed.
 *
 * A named strategy and a formula of a model's own take settings as their parameters. A list of steps is changed in
 * proportion: the step with the largest value gets the one asked for, the others keep their share of it; guidance counts
 * from 1, where it is off. Of ENAT's formula that would be another schedule: its largest guidance lies below its parameter.
 */

import { readFileSync } from 'node:fs';
import {
  type AutoregressiveSettings,
  autonatSearched8,
  autoregressiveSettings,
  cosineStrategy,
  type EnatStrategyOptions,
  enatStrategy,
  fromAutonatYaml,
  haltonStrategy,
  isAutoregressive,
  nearest,
  parseSamplingSettings,
  parseStrategy,
  type SamplingSettings,
  type Strategy,
  type StrategyStep,
} from '@tessera/schedule';
import { parse as parseYaml } from 'yaml';
import type { GenerationKind } from '../models/family.ts';
import { PipelineError } from './events.ts';
import { flagName } from './flag-name.ts';
import { namedStrategies, strategyFile } from './named-strategy-files.ts';

export interface StrategyChoice {
  /** One of `strategyNames`, a name that the model folder knows, a file or a search's folder; undefined: the model's own. */
  strategy?: string | undefined;
  numSteps?: number | undefined;
  /** s in uncond + s · (cond − uncond); 1 = off. */
  guidanceScale?: number | undefined;
  choiceTemperature?: number | undefined;
  sampleTemperature?: number | undefined;
  /** Runs steps whose |guidanceScale - 1| is below this without guidance. */
  skipGuidanceBelow?: number | undefined;
  /** Of autoregressive models: draws from the k most likely codes, 0 = all. */
  topK?: number | undefined;
  /** Of autoregressive models: draws from the most likely codes that together have this probability. */
  topP?: number | undefined;
  /** Of autoregressive models: the most likely code, no draw. */
  greedy?: boolean | undefined;
}

/** ENAT's formula with a model's parameters, of which any may be given anew. */
export interface OwnFormula {
  enat: EnatStrategyOptions;
}

/** How a model is sampled unless something else is asked for. */
export type OwnSampling = SamplingSettings | OwnFormula;

/** Formulas for any number of steps. */
const FORMULAS = { enat: enatStrategy, cosine: cosineStrategy, halton: haltonStrategy };
/** Lists of steps. */
const LISTS = { 'autonat-searched': autonatSearched8 };
export const strategyNames = [...Object.keys(FORMULAS), ...Object.keys(LISTS)];
const DEFAULT_STEPS = 8;
const SETTINGS = ['numSteps', 'guidanceScale', 'choiceTemperature', 'sampleTemperature'] as const;

/** The settings for a model of either kind; options of the other kind are refused. */
export function chooseSampling(
  choice: StrategyChoice,
  own: OwnSampling | undefined,
  kind: GenerationKind,
  modelFolder?: string,
): SamplingSettings {
  const foreign = kind === 'masked' ? AUTOREGRESSIVE_ONLY : MASKED_ONLY;
  const given = foreign.find((key) => choice[key] !== undefined);
  if (given !== undefined) {
    const other = kind === 'masked' ? 'autoregressive' : 'masked';
    throw new PipelineError('OPTIONS', `${flagName(given)} belongs to ${other} models; this one is ${kind}.`);
  }
  if (kind === 'masked') return chooseStrategy(choice, own as Strategy | OwnFormula | undefined, modelFolder);
  const { guidanceScale, sampleTemperature: temperature, topK, topP, greedy } = choice;
  const changes = Object.entries({ guidanceScale, temperature, topK, topP, greedy });
  const base = choice.strategy === undefined ? own : readSettings(choice.strategy, modelFolder, []);
  if (base !== undefined && (isOwnFormula(base) || !isAutoregressive(base))) {
    throw new PipelineError('OPTIONS', `${choice.strategy} is a list of steps; this model is sampled token by token.`);
  }
  return autoregressiveSettings({
    ...(base as AutoregressiveSettings | undefined),
    ...Object.fromEntries(changes.filter(([, value]) => value !== undefined)),
  });
}

/** Such as `8 steps` or `token by token`. */
export function describeSampling(settings: SamplingSettings): string {
  return isAutoregressive(settings) ? 'token by token' : `${settings.numSteps} steps`;
}

const AUTOREGRESSIVE_ONLY = ['topK', 'topP', 'greedy'] as const;
const MASKED_ONLY = ['numSteps', 'choiceTemperature', 'skipGuidanceBelow'] as const;

/** @param own the model's strategy; undefined where it brings none: then the default is `enat` */
export function chooseStrategy(
  choice: StrategyChoice,
  own: Strategy | OwnFormula | undefined,
  modelFolder?: string,
): Strategy {
  const strategy = chosen(choice, own, modelFolder);
  const { skipGuidanceBelow } = choice;
  return skipGuidanceBelow === undefined ? strategy : parseStrategy({ ...strategy, skipGuidanceBelow });
}

/** Guidance needs a prediction without class, which a model that always saw the label has not learned. */
export function requireNullClass(settings: SamplingSettings, nullClass: boolean | undefined, who: string): void {
  const scales = isAutoregressive(settings) ? [settings] : settings.steps;
  if (nullClass !== false || scales.every(({ guidanceScale }) => guidanceScale === 1)) return;
  throw new PipelineError(
    'GUIDANCE',
    `${who} was trained without a null class, so it cannot be guided: give the guidance scale 1, or train with a label drop above 0.`,
  );
}

function chosen(
  choice: StrategyChoice,
  own: Strategy | OwnFormula | undefined,
  modelFolder: string | undefined,
): Strategy {
  const given = Object.fromEntries(
    SETTINGS.filter((key) => choice[key] !== undefined).map((key) => [key, choice[key]]),
  );
  const name = choice.strategy ?? (own === undefined ? 'enat' : undefined);
  if (name === undefined && isOwnFormula(own!)) return enatStrategy({ ...own.enat, ...given });
  if (name !== undefined && isFormula(name)) {
    if (name === 'halton' && choice.choiceTemperature !== undefined) {
      throw new PipelineError('OPTIONS', 'The strategy "halton" has a fixed order: there is no choice temperature.');
    }
    return FORMULAS[name]({ numSteps: DEFAULT_STEPS, ...given });
  }
  const base = name === undefined ? (own as Strategy) : isList(name) ? LISTS[name]() : readStrategy(name, modelFolder);
  if (choice.numSteps !== undefined && choice.numSteps !== base.numSteps) {
    const whose = name === undefined ? "The model's strategy" : name;
    throw new PipelineError(
      'OPTIONS',
      `${whose} is a list of ${base.numSteps} steps, so the number of steps cannot be ${choice.numSteps}: choose the strategy "enat" or "cosine", which work for any number.`,
    );
  }
  return parseStrategy({ ...base, steps: adjusted(base.steps, choice) });
}

function isOwnFormula(own: OwnSampling): own is OwnFormula {
  return 'enat' in own;
}

function isFormula(name: string): name is keyof typeof FORMULAS {
  return Object.hasOwn(FORMULAS, name);
}

function isList(name: string): name is keyof typeof LISTS {
  return Object.hasOwn(LISTS, name);
}

function readStrategy(name: string, modelFolder: string | undefined): Strategy {
  const settings = readSettings(name, modelFolder, strategyNames);
  if (!isAutoregressive(settings)) return settings;
  throw new PipelineError(
    'OPTIONS',
    `${name} holds settings of autoregressive models; this model needs a list of steps.`,
  );
}

/** @param others names that would have been understood as well */
function readSettings(name: string, modelFolder: string | undefined, others: readonly string[]): SamplingSettings {
  const path = strategyFile(name, modelFolder);
  if (path === undefined) {
    const known = [...others, ...namedStrategies(modelFolder)];
    const near = nearest(name, known);
    const advice = near === undefined ? '' : `; did you mean "${near}"?`;
    const names = known.length === 0 ? '' : `${known.join(', ')} or `;
    throw new PipelineError('OPTIONS', `Expected ${names}a strategy file, got "${name}"${advice}`);
  }
  let content: unknown;
  try {
    content = parseYaml(readFileSync(path, 'utf8'), { maxAliasCount: 0 });
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new PipelineError('OPTIONS', `The strategy ${path} cannot be read: ${reason}`, { cause: error });
  }
  const isAutonat = typeof content === 'object' && content !== null && 'manual_samp_temp' in content;
  return isAutonat ? fromAutonatYaml(content, path) : parseSamplingSettings(content, path);
}

function adjusted(steps: readonly StrategyStep[], choice: StrategyChoice): StrategyStep[] {
  const guidance = rescale(
    steps.map((step) => step.guidanceScale - 1),
    choice.guidanceScale === undefined ? undefined : choice.guidanceScale - 1,
  );
  const choiceTemperature = rescale(
    steps.map((step) => step.choiceTemperature),
    choice.choiceTemperature,
  );
  const sampleTemperature = rescale(
    steps.map((step) => step.sampleTemperature),
    choice.sampleTemperature,
  );
  return steps.map((step, i) => ({
    ...step,
    guidanceScale: guidance[i]! + 1,
    choiceTemperature: choiceTemperature[i]!,
    sampleTemperature: sampleTemperature[i]!,
  }));
}

function rescale(values: readonly number[], largest: number | undefined): number[] {
  if (largest === undefined) return [...values];
  const before = Math.max(...values);
  // Nothing to keep the proportions of: all the same.
  return before > 0 ? values.map((value) => (value / before) * largest) : values.map(() => largest);
}
