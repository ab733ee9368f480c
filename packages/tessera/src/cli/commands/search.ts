/** `tessera search`: sampling schedules of masked models, settings of autoregressive ones. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { search } from '../../pipelines/search.ts';
import { AUTOREGRESSIVE_VARIABLES } from '../../search/autoregressive-space.ts';
import { METHOD_NAMES } from '../../search/methods.ts';
import { LIST_NAMES } from '../../search/variables.ts';
import { parseRanges } from '../argument-ranges.ts';
import { oneOf, realNumber, text, typedPath, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';
import { objectiveArguments, objectiveFields } from '../objective-arguments.ts';

const schema = strictConfig({
  modelFolder: text('a model folder'),
  out: text('a folder'),
  ...objectiveFields,
  method: oneOf(METHOD_NAMES).optional(),
  parametrisation: oneOf(['full', 'smooth']).optional(),
  knots: wholeNumber(1, 1000).optional(),
  numSteps: wholeNumber(1, 65536).optional(),
  start: text('the name of a strategy or a file').optional(),
  bounds: z.array(z.string()).optional(),
  numImages: wholeNumber(1, 10_000_000).optional(),
  budgetImages: wholeNumber(1).optional(),
  budgetMinutes: realNumber(0, 1e7).optional(),
  budgetEvaluations: wholeNumber(1).optional(),
  seed: wholeNumber(0, 2 ** 32).optional(),
  noise: oneOf(['common', 'fresh']).optional(),
  confirm: wholeNumber(0, 100_000).optional(),
  batch: wholeNumber(1, 65536).optional(),
  workers: wholeNumber(1, 256).optional(),
  population: wholeNumber(2, 100_000).optional(),
  ratioRate: realNumber(0, 1e6).optional(),
  otherRate: realNumber(0, 1e6).optional(),
  momentum: realNumber(0, 1).optional(),
  clip: realNumber(0, 1e9).optional(),
  maxUpdates: wholeNumber(0, 1_000_000).optional(),
  saveAs: text('a name').optional(),
});

export const searchCommand = defineCommand({
  name: 'search',
  summary: 'search the sampling strategy of a model',
  details:
    'Measures candidates by an objective, such as the distance of generated images from real ones, and writes the best as ' +
    'strategy.yaml, which "tessera sample --strategy" takes. Every candidate gets the same noise and classes. The same command again ' +
    'goes on where it was; a larger budget goes further. Under a launcher (RANK, WORLD_SIZE) candidates are spread over the ranks.',
  args: {
    'model-folder': { type: 'positional', required: true, description: 'folder with config.json, weights, tokenizer' },
    out: { type: 'string', required: true, valueHint: 'FOLDER', description: 'run folder' },
    ...objectiveArguments,
    method: { type: 'string', valueHint: 'NAME', description: `${METHOD_NAMES.join(', ')} (default trust-region)` },
    parametrisation: {
      type: 'string',
      valueHint: 'NAME',
      description:
        'full: all 4T - 2 numbers; smooth: falling ratios, curves through a few knots (the default, but for finite differences)',
    },
    knots: { type: 'string', valueHint: 'K', description: 'of the smooth curves (default 2 up to four steps, else 3)' },
    'num-steps': { type: 'string', valueHint: 'T', description: 'steps of the schedule (default: those of the start)' },
    start: {
      type: 'string',
      valueHint: 'NAME|FILE',
      description:
        "where to begin, as sample --strategy, or autonat-initial; of another number of steps it is stretched (default: the model's own)",
    },
    bounds: {
      type: 'string',
      multiple: true,
      valueHint: 'NAME=LOW,HIGH',
      description: `of ${LIST_NAMES.join(', ')} (guidance as w = s - 1); of GPTs ${AUTOREGRESSIVE_VARIABLES.join(', ')}`,
    },
    'num-images': { type: 'string', valueHint: 'N', description: 'images of an evaluation (default 1000)' },
    'budget-images': { type: 'string', valueHint: 'N', description: 'stop after so many images' },
    'budget-minutes': {
      type: 'string',
      valueHint: 'N',
      description: 'stop after so many minutes, all starts together',
    },
    'budget-evaluations': { type: 'string', valueHint: 'N', description: 'stop after so many evaluations' },
    seed: { type: 'string', valueHint: 'N', description: 'of noise and candidates (default 0)' },
    noise: {
      type: 'string',
      valueHint: 'common|fresh',
      description: 'the same for every candidate, or each its own as in the original (its default)',
    },
    confirm: {
      type: 'string',
      valueHint: 'N',
      description: 'compare start and best on N blocks of unseen noise at the end (default 4)',
    },
    batch: { type: 'string', valueHint: 'N', description: 'images at a time (default: by their size)' },
    workers: { type: 'string', valueHint: 'N', description: 'processes that measure (default 1: this one)' },
    population: {
      type: 'string',
      valueHint: 'N',
      description: 'candidates at a time; halving: of a first rung (default: by the method)',
    },
    'ratio-rate': {
      type: 'string',
      valueHint: 'X',
      description: "finite-difference: the original's --sche_lr (0.001)",
    },
    'other-rate': { type: 'string', valueHint: 'X', description: "finite-difference: the original's --unb_lr (0.1)" },
    momentum: { type: 'string', valueHint: 'X', description: "finite-difference: the original's --sche_moment (0.5)" },
    clip: { type: 'string', valueHint: 'X', description: "finite-difference: the original's --clip_grad (none)" },
    'max-updates': { type: 'string', valueHint: 'N', description: "finite-difference: the original's --max_upd (100)" },
    'save-as': {
      type: 'string',
      valueHint: 'NAME',
      description: 'also keep the result in the model folder, for sample --strategy NAME',
    },
  },
  examples: [
    {
      command: 'search MODEL --reference images/train --out runs/search --budget-images 50000 --workers 2',
      what: 'smooth schedules, two processes',
    },
    {
      command:
        'search MODEL --objective likelihood --reference tokens/val --out runs/first --budget-evaluations 200 --num-images 256',
      what: 'a cheap first stage without drawing images',
    },
    {
      command:
        'search MODEL --method finite-difference --num-steps 8 --objective fid --inception pt_inception-2015-12-05-6726825d.pth --reference fid_stats.npz --num-images 50000 --budget-images 155050000 --out runs/original',
      what: "the original's search",
    },
  ],
  resumable: true,
  schema,
  run: (options, { signal }) => {
    const { modelFolder, budgetImages, budgetMinutes, budgetEvaluations, confirm, bounds, ...rest } = options;
    return search({
      ...rest,
      model: modelFolder,
      budget: { images: budgetImages, minutes: budgetMinutes, evaluations: budgetEvaluations },
      confirmBlocks: confirm,
      bounds:
        bounds === undefined
          ? undefined
          : parseRanges('--bounds', bounds, [...LIST_NAMES, ...AUTOREGRESSIVE_VARIABLES]),
      signal,
    });
  },
  print: ({ files }) => {
    const strategy = (files as { strategy?: string } | undefined)?.strategy;
    return strategy === undefined
      ? ''
      : `The strategy is ${strategy}: tessera sample MODEL --strategy ${typedPath(strategy)}\n`;
  },
});
