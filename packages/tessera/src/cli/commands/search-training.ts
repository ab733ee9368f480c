/** `tessera search-training`: the mask ratios of training, in turn with the schedule where asked. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { RATIO_METHODS } from '../../pipelines/search/search-ratios.ts';
import { searchTraining } from '../../pipelines/search-training.ts';
import { MASK_RATIO_VARIABLES } from '../../search/mask-ratio-space.ts';
import { parseRanges } from '../argument-ranges.ts';
import { numberList, oneOf, realNumber, text, typedPath, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';
import { objectiveArguments, objectiveFields } from '../objective-arguments.ts';

const schema = strictConfig({
  modelFolder: text('a model folder'),
  out: text('a folder'),
  data: z.array(text('tokens')).min(1),
  steps: wholeNumber(1, 2 ** 31),
  config: text('a file').optional(),
  globalBatch: wholeNumber(1, 1 << 20).optional(),
  lr: realNumber(0, 10).optional(),
  fromScratch: z.boolean().optional(),
  start: numberList(2, 2).optional(),
  bounds: z.array(z.string()).optional(),
  strategy: text('the name of a strategy or a file').optional(),
  ...objectiveFields,
  method: oneOf(RATIO_METHODS).optional(),
  population: wholeNumber(2, 100_000).optional(),
  numImages: wholeNumber(1, 10_000_000).optional(),
  budgetEvaluations: wholeNumber(1).optional(),
  budgetMinutes: realNumber(0, 1e7).optional(),
  budgetImages: wholeNumber(1).optional(),
  seed: wholeNumber(0, 2 ** 32).optional(),
  confirm: wholeNumber(0, 100_000).optional(),
  batch: wholeNumber(1, 65536).optional(),
  rounds: wholeNumber(0, 1000).optional(),
  scheduleImages: wholeNumber(1).optional(),
  numSteps: wholeNumber(1, 65536).optional(),
  workers: wholeNumber(1, 256).optional(),
});

export const searchTrainingCommand = defineCommand({
  name: 'search-training',
  summary: 'search the mask ratios that a model is trained with',
  details:
    'Trains a masked model for a few steps with mask ratios from Beta(alpha, beta), measures images of it under a fixed schedule, and looks ' +
    'for the best alpha and beta. With --rounds in turn with the schedule. Every training begins at the same weights, with the same data and ' +
    'seed. Writes recipe.yaml, which "tessera train --config" takes. The same command again goes on where it was, also within a training.',
  args: {
    'model-folder': {
      type: 'positional',
      required: true,
      description: 'the network, the weights to begin at, the tokenizer',
    },
    data: { type: 'string', multiple: true, required: true, valueHint: 'PATH', description: 'tokens to train on' },
    out: { type: 'string', required: true, valueHint: 'FOLDER', description: 'run folder' },
    steps: { type: 'string', required: true, valueHint: 'N', description: 'optimizer steps of a training' },
    config: { type: 'string', valueHint: 'FILE', description: 'recipe and training settings, as for train --config' },
    'global-batch': { type: 'string', valueHint: 'N', description: 'images a step (default 64)' },
    lr: { type: 'string', valueHint: 'RATE', description: 'learning rate (default 1e-4)' },
    'from-scratch': { type: 'boolean', description: "begin at random weights instead of the model's" },
    start: { type: 'string', values: 2, valueHint: 'A B', description: 'alpha and beta to begin at (default 12 3)' },
    bounds: {
      type: 'string',
      multiple: true,
      valueHint: 'NAME=LOW,HIGH',
      description: `of ${MASK_RATIO_VARIABLES.join(', ')}`,
    },
    strategy: {
      type: 'string',
      valueHint: 'NAME|FILE',
      description: "schedule to sample with, as sample --strategy (default: the model's own)",
    },
    ...objectiveArguments,
    method: { type: 'string', valueHint: 'NAME', description: `${RATIO_METHODS.join(', ')} (default trust-region)` },
    population: { type: 'string', valueHint: 'N', description: 'candidates at a time (default: by the method)' },
    'num-images': { type: 'string', valueHint: 'N', description: 'images of a measurement (default 1000)' },
    'budget-evaluations': {
      type: 'string',
      valueHint: 'N',
      description: 'stop after so many trainings, in each round',
    },
    'budget-minutes': { type: 'string', valueHint: 'N', description: 'stop after so many minutes, in each round' },
    'budget-images': { type: 'string', valueHint: 'N', description: 'stop after so many images, in each round' },
    seed: { type: 'string', valueHint: 'N', description: 'of noise, candidates and trainings (default 0)' },
    confirm: {
      type: 'string',
      valueHint: 'N',
      description: 'compare start and best on N blocks of unseen noise at the end (default 4)',
    },
    batch: { type: 'string', valueHint: 'N', description: 'images at a time (default: by their size)' },
    rounds: {
      type: 'string',
      valueHint: 'K',
      description: 'search schedule and mask ratios in turn, K times (default 0: the schedule stays)',
    },
    'schedule-images': {
      type: 'string',
      valueHint: 'N',
      description: 'with --rounds: images of a search of the schedule',
    },
    'num-steps': { type: 'string', valueHint: 'T', description: 'with --rounds: steps of the schedule' },
    workers: { type: 'string', valueHint: 'N', description: 'with --rounds: processes that measure schedules' },
  },
  examples: [
    {
      command:
        'search-training MODEL --data tokens/train --reference images/train --out runs/ratios --steps 1000 --budget-evaluations 16',
      what: 'alpha and beta under the schedule of the model',
    },
    {
      command:
        'search-training MODEL --data tokens/train --reference images/train --out runs/both --steps 1000 --budget-evaluations 8 --rounds 3 --schedule-images 20000',
      what: 'in turn with the schedule, as the paper does',
    },
  ],
  resumable: true,
  schema,
  run: (options, { signal }) => {
    const { modelFolder, budgetImages, budgetMinutes, budgetEvaluations, confirm, bounds, lr, start, ...rest } =
      options;
    return searchTraining({
      ...rest,
      model: modelFolder,
      learningRate: lr,
      start: start as [number, number] | undefined,
      budget: { images: budgetImages, minutes: budgetMinutes, evaluations: budgetEvaluations },
      confirmBlocks: confirm,
      bounds: bounds === undefined ? undefined : parseRanges('--bounds', bounds, MASK_RATIO_VARIABLES),
      signal,
    });
  },
  print: ({ files }) => {
    const recipe = (files as { recipe?: string } | undefined)?.recipe;
    return recipe === undefined
      ? ''
      : `The mask ratios are in ${recipe}: tessera train --config ${typedPath(recipe)} …\n`;
  },
});
