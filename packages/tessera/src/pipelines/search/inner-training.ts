/** The settings of the trainings that a search of mask ratios makes: a file's, as `train --config` takes it, below the search's own. */

import type { GeneratorConfig } from '../../models/family.ts';
import { SearchError } from '../../search/search-error.ts';
import { resolveTrainingConfig, type TrainingConfig } from '../../training/config.ts';
import { fileCurve } from '../train-rate.ts';
import { NAT_OPTIMIZER } from '../train-recipes.ts';
import type { TrainFile } from '../train-settings.ts';

/** The data's, of a training as well as here. */
const OF_THE_DATA = ['gridSize', 'codebookSize', 'numClasses'];
/** Each training is measured at its end, by the search. */
const OF_THE_SEARCH = ['evaluateEvery', 'sampleEvery', 'keepCheckpoints'];

/**
 * Refuses what a file says and nobody would read. What the search is told on its command line stands above the file, as in a
 * training: model, data, out, steps.
 *
 * @param config of the network at hand
 */
export function checkInnerFile(file: TrainFile, path: string | undefined, config: GeneratorConfig): void {
  const { network = {}, training = {}, recipe, heldOut, tokenizer } = file;
  const known: Record<string, unknown> = { ...config };
  const others = Object.keys(network).filter((key) => !OF_THE_DATA.includes(key) && network[key] !== known[key]);
  const strange = [
    ...others.map((key) => `network.${key}: that of the model folder is ${JSON.stringify(known[key])}`),
    ...(heldOut === undefined ? [] : ['heldOut: trainings are compared by their images']),
    ...(tokenizer === undefined ? [] : ["tokenizer: the model folder's is taken"]),
    ...(training.seed === undefined ? [] : ['training.seed: give the seed of the search']),
    ...OF_THE_SEARCH.filter((key) => training[key] !== undefined).map(
      (key) => `training.${key}: trainings are measured at their ends`,
    ),
    ...((recipe?.maskDistribution ?? 'beta') === 'beta'
      ? []
      : ['recipe.maskDistribution: the search is over Beta(α, β)']),
  ];
  if (strange.length === 0) return;
  throw new SearchError('SEARCH_OPTIONS', `${path} holds what this search decides: ${strange.join('; ')}.`);
}

export interface InnerTrainingOptions {
  steps: number;
  /** Default 0. */
  seed?: number | undefined;
  /** Default: the file's, else 64. */
  globalBatch?: number | undefined;
  /** Default: the file's, else 1e-4. */
  learningRate?: number | undefined;
}

/** Of every training: the same data in the same order, measured at its end alone. */
export function innerTraining(options: InnerTrainingOptions, { training = {} }: TrainFile): TrainingConfig {
  const { steps, seed = 0, globalBatch, learningRate } = options;
  return resolveTrainingConfig(
    {
      ...NAT_OPTIMIZER,
      globalBatch: 64,
      checkpointEvery: Math.max(1, Math.min(500, Math.floor(steps / 4))),
      ...training,
      ...(globalBatch === undefined ? {} : { globalBatch }),
      learningRate: {
        ...{ kind: 'constant', base: 1e-4, warmupSteps: 0, ...fileCurve(training) },
        ...(learningRate === undefined ? {} : { base: learningRate }),
      },
      ...{ totalSteps: steps, seed, evaluateEvery: steps, sampleEvery: steps, keepCheckpoints: 1 },
    },
    'the trainings of the search',
  );
}
