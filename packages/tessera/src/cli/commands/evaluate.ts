/** `tessera evaluate`: FID and other metrics of a model or of pictures. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { strategyNames } from '../../pipelines/choose-strategy.ts';
import { protocolNames } from '../../pipelines/evaluate/protocols.ts';
import { withInterval } from '../../pipelines/evaluate/report-content.ts';
import { type EvaluationResult, evaluate, sweepSettings } from '../../pipelines/evaluate.ts';
import { oneOf, realNumber, text, typedPath, wholeNumber } from '../argument-values.ts';
import { camelCase, defineCommand, kebabCase } from '../command.ts';

const SWEEP = /^([a-z-]+)=(-?[\d.e+-]+(?:,-?[\d.e+-]+)*)$/;

/** `guidance-scale=1,1.5,2` */
const sweep = z.string().transform((input, context) => {
  const [, name = '', list = ''] = SWEEP.exec(input) ?? [];
  const setting = sweepSettings.find((known) => known === camelCase(name));
  const values = list.split(',').map(Number);
  if (setting !== undefined && values.every(Number.isFinite)) return { setting, values };
  const known = sweepSettings.map(kebabCase).join(', ');
  context.addIssue({ code: 'custom', message: `expected SETTING=NUMBER,NUMBER with ${known}; got "${input}"` });
  return z.NEVER;
});

export const evaluateCommand = defineCommand({
  name: 'evaluate',
  summary: 'measure a model or pictures: FID, KID, precision, recall',
  details:
    'Compares pictures with a reference under a protocol, which fixes all that published numbers depend on. Features are ' +
    'kept in the output folder: the same command goes on where it was stopped. Several processes started with RANK and ' +
    'WORLD_SIZE share the work and give the same bits.',
  args: {
    source: {
      type: 'positional',
      required: true,
      description: 'model folder, run with a model, folder of images, .npz with arr_0, or tokens',
    },
    reference: {
      type: 'string',
      required: true,
      valueHint: 'PATH',
      description: 'folder of images, .npz with arr_0, or statistics: mu and sigma as published',
    },
    protocol: {
      type: 'string',
      valueHint: protocolNames.join('|'),
      description: 'whose numbers (default fid); local needs no Inception weights and gives FD-local and KID-local',
    },
    inception: {
      type: 'string',
      valueHint: 'FILE',
      description: 'weights of Inception (default: where "tessera fetch fid-inception" puts them)',
    },
    'num-images': { type: 'string', valueHint: 'N', description: 'of a model (default: as the protocol says)' },
    seed: { type: 'string', valueHint: 'N', description: 'of the samples (default 0)' },
    size: { type: 'string', valueHint: 'PX', description: 'crop and resize pictures of folders' },
    tokenizer: { type: 'string', valueHint: 'PATH', description: 'decodes tokens: a folder or an official file' },
    strategy: { type: 'string', valueHint: 'NAME|FILE', description: `${strategyNames.join(', ')}, or a file` },
    'num-steps': { type: 'string', valueHint: 'N', description: 'steps of a named strategy' },
    'guidance-scale': { type: 'string', valueHint: 'S', description: 's in uncond + s (cond - uncond), 1 = off' },
    'choice-temperature': { type: 'string', valueHint: 'T', description: 'noise on the choice of tokens to keep' },
    'sample-temperature': { type: 'string', valueHint: 'T', description: 'divides the logits' },
    sweep: {
      type: 'string',
      valueHint: 'SETTING=A,B,C',
      description: `a curve over ${sweepSettings.map(kebabCase).join(', ')}`,
    },
    compare: {
      type: 'string',
      multiple: true,
      valueHint: 'FILES',
      description: 'result.json of other evaluations, shown beside this one',
    },
    out: { type: 'string', valueHint: 'FOLDER', description: 'default: evaluations/NAME-PROTOCOL' },
  },
  examples: [
    {
      command: 'evaluate MODEL --reference images/train --protocol local --num-images 1000',
      what: 'without Inception',
    },
    {
      command: 'evaluate samples.npz --reference VIRTUAL_imagenet256_labeled.npz --protocol adm',
      what: 'as the ADM evaluator',
    },
    {
      command: 'evaluate MODEL --reference fid_stats_imagenet256_guided_diffusion.npz --protocol enat',
      what: "ENAT's numbers",
    },
    {
      command: 'evaluate MODEL --reference images --protocol local --sweep guidance-scale=1,2,3,4',
      what: 'a curve over guidance',
    },
  ],
  resumable: true,
  schema: strictConfig({
    source: text('a model or pictures'),
    reference: text('a reference'),
    protocol: oneOf(protocolNames).optional(),
    inception: text('a file').optional(),
    numImages: wholeNumber(2, 10_000_000).optional(),
    seed: wholeNumber(0).optional(),
    size: wholeNumber(1, 65536).optional(),
    tokenizer: text('a tokenizer').optional(),
    strategy: text('the name of a strategy or a file').optional(),
    numSteps: wholeNumber(1, 65536).optional(),
    guidanceScale: realNumber(-1000, 1000).optional(),
    choiceTemperature: realNumber(0, 1e6).optional(),
    sampleTemperature: realNumber(0, 1e6).optional(),
    sweep: sweep.optional(),
    compare: z.array(z.string()).optional(),
    out: text('a folder').optional(),
  }),
  run: (options, { signal }) => evaluate({ ...options, signal }),
  print: (result) => {
    if (result.complete !== true) return '';
    const { metrics, out } = result as unknown as EvaluationResult & { out: string };
    const lines = Object.entries(metrics).map(([name, metric]) => `${name.padEnd(16)} ${withInterval(metric)}`);
    return `${lines.join('\n')}\nThe report is ${typedPath(`${out}/report.html`)}\n`;
  },
});
