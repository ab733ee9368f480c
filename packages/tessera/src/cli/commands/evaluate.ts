/** `tessera evaluate`: FID and other metrics of a model or of pictures. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { modelPresetNames } from '../../models/presets.ts';
import { strategyNames } from '../../pipelines/choose-strategy.ts';
import { sweepSettings } from '../../pipelines/evaluate/curve.ts';
import { protocolNames } from '../../pipelines/evaluate/protocols.ts';
import { type EvaluationResult, withInterval } from '../../pipelines/evaluate/result.ts';
import { evaluate } from '../../pipelines/evaluate.ts';
import { kebabCase } from '../../pipelines/flag-name.ts';
import { oneOf, realNumber, text, typedPath, wholeNumber } from '../argument-values.ts';
import { camelCase, defineCommand } from '../command.ts';

const CHECKPOINTS = /^all$|^\d+(,\d+)*$/;

/** `all`, or steps. */
const checkpoints = z
  .string()
  .regex(CHECKPOINTS, { error: ({ input }) => `expected all, or steps such as 1000,2000; got "${String(input)}"` })
  .transform((input) => (input === 'all' ? ('all' as const) : input.split(',').map(Number)));

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
  summary: 'measure a model, a tokenizer or pictures: FID, KID, precision, recall',
  details:
    'Compares pictures with a reference under a protocol, which fixes all that published numbers depend on. Features are ' +
    'kept in the output folder: the same command goes on where it was stopped. Under "tessera launch", or started with RANK ' +
    'and WORLD_SIZE, processes share the work and give the same bits.',
  args: {
    source: {
      type: 'positional',
      required: false,
      description: 'model folder, run or checkpoint, folder of images, .npz with arr_0, or tokens',
    },
    reference: {
      type: 'string',
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
    'num-images': { type: 'string', valueHint: 'N', description: 'of a model (default 50,000, under local 1,000)' },
    seed: { type: 'string', valueHint: 'N', description: 'of the samples (default 0)' },
    batch: { type: 'string', valueHint: 'N', description: 'pictures at a time, up to 128 (default: by their size)' },
    size: {
      type: 'string',
      valueHint: 'PX',
      description: 'crop and resize pictures of folders; of --weights, what it draws',
    },
    weights: {
      type: 'string',
      valueHint: 'FILE',
      description: 'instead of a model folder: a checkpoint, .pth or .safetensors',
    },
    model: {
      type: 'string',
      valueHint: 'PRESET',
      description: 'with --weights: what its shapes do not tell, and how it is sampled; as for "tessera sample"',
    },
    'encoder-depth': { type: 'string', valueHint: 'N', description: 'with --weights: blocks of the encoder' },
    'decoder-depth': { type: 'string', valueHint: 'N', description: 'with --weights: blocks of the decoder' },
    'num-heads': { type: 'string', valueHint: 'N', description: 'with --weights: attention heads' },
    tokenizer: {
      type: 'string',
      valueHint: 'NAME|PATH',
      description: 'decodes tokens, of files, runs and weights: a folder, an official file, or an architecture',
    },
    'tokenizer-weights': { type: 'string', valueHint: 'FILE', description: "the tokenizer's published file" },
    reconstruction: {
      type: 'boolean',
      description: 'measure the tokenizer: pictures go through it and back; the reference is by default themselves',
    },
    'ssim-range': {
      type: 'string',
      valueHint: 'R',
      description: "of a reconstruction's SSIM: 1 (default), or 2 as LlamaGen's script has it",
    },
    strategy: { type: 'string', valueHint: 'NAME|FILE', description: `${strategyNames.join(', ')}, or a file` },
    'num-steps': { type: 'string', valueHint: 'N', description: 'steps of a named strategy' },
    'guidance-scale': { type: 'string', valueHint: 'S', description: 's in uncond + s (cond - uncond), 1 = off' },
    'choice-temperature': { type: 'string', valueHint: 'T', description: 'noise on the choice of tokens to keep' },
    'sample-temperature': { type: 'string', valueHint: 'T', description: 'divides the logits' },
    'skip-guidance-below': {
      type: 'string',
      valueHint: 'E',
      description: 'run steps with |s - 1| below E without guidance',
    },
    'top-k': { type: 'string', valueHint: 'K', description: 'GPT: draw from the K most likely codes (default: all)' },
    'top-p': { type: 'string', valueHint: 'P', description: 'GPT: draw from codes that together have probability P' },
    greedy: { type: 'boolean', description: 'GPT: the most likely code, no draw' },
    sweep: {
      type: 'string',
      valueHint: 'SETTING=A,B,C',
      description: `a curve over ${sweepSettings.map(kebabCase).join(', ')}`,
    },
    checkpoints: {
      type: 'string',
      valueHint: 'all|STEPS',
      description: 'of a run: a curve over its checkpoints',
    },
    judge: {
      type: 'boolean',
      description: 'also: how often a classifier trained on the reference (class folders) sees the class asked for',
    },
    'held-out': {
      type: 'string',
      valueHint: 'PATH',
      description: 'pictures that were not trained on, to tell whether samples are copies of the reference',
    },
    resamples: {
      type: 'string',
      valueHint: 'N',
      description: 'of the intervals, 0 = none (default: 50, fewer where they would take minutes)',
    },
    compare: {
      type: 'string',
      multiple: true,
      valueHint: 'FOLDERS',
      description: 'outputs of other evaluations, separated by commas or given repeatedly, shown beside this one',
    },
    features: {
      type: 'string',
      valueHint: 'FOLDER',
      description: 'where features are kept; shared, those of a reference are made once (default: OUT/features)',
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
    {
      command: 'evaluate runs/enat --checkpoints all --tokenizer TOKENIZER --reference images --protocol local',
      what: 'a curve over training',
    },
    {
      command:
        'evaluate --weights c2i_B_256.pt --model gpt-b --tokenizer-weights vq_ds16_c2i.pt --guidance-scale 2 --reference VIRTUAL_imagenet256_labeled.npz --protocol adm',
      what: 'a published checkpoint',
    },
    {
      command:
        'evaluate images/val --size 256 --reconstruction --tokenizer llamagen-vq16 --tokenizer-weights vq_ds16_c2i.pt',
      what: 'a tokenizer: rFID, PSNR, SSIM, codebook usage',
    },
    {
      command: 'evaluate MODEL --reference images/train --held-out images/val --judge --protocol local',
      what: 'also copies and classes',
    },
  ],
  resumable: true,
  schema: strictConfig({
    source: text('a model or pictures').optional(),
    reference: text('a reference').optional(),
    protocol: oneOf(protocolNames).optional(),
    inception: text('a file').optional(),
    numImages: wholeNumber(2, 10_000_000).optional(),
    seed: wholeNumber(0).optional(),
    size: wholeNumber(1, 65536).optional(),
    weights: text('a weights file').optional(),
    model: oneOf(modelPresetNames).optional(),
    encoderDepth: wholeNumber(1, 256).optional(),
    decoderDepth: wholeNumber(1, 256).optional(),
    numHeads: wholeNumber(1, 256).optional(),
    tokenizer: text('a tokenizer').optional(),
    tokenizerWeights: text('a weights file').optional(),
    reconstruction: z.boolean().optional(),
    ssimRange: realNumber(1e-6, 1e6).optional(),
    strategy: text('the name of a strategy or a file').optional(),
    numSteps: wholeNumber(1, 65536).optional(),
    guidanceScale: realNumber(-1000, 1000).optional(),
    choiceTemperature: realNumber(0, 1e6).optional(),
    sampleTemperature: realNumber(0, 1e6).optional(),
    skipGuidanceBelow: realNumber(0, 1e6).optional(),
    topK: wholeNumber(0, 1 << 24).optional(),
    topP: realNumber(0, 1).optional(),
    greedy: z.boolean().optional(),
    batch: wholeNumber(1, 128).optional(),
    sweep: sweep.optional(),
    checkpoints: checkpoints.optional(),
    judge: z.boolean().optional(),
    heldOut: text('pictures').optional(),
    resamples: wholeNumber(0, 100_000).optional(),
    features: text('a folder').optional(),
    compare: z
      .array(z.string())
      .transform((words) => words.flatMap((word) => word.split(',')))
      .optional(),
    out: text('a folder').optional(),
  }),
  run: (options, { signal }) => evaluate({ ...options, signal }),
  print: (result) => {
    if (result.complete !== true) return '';
    const { metrics, sweep, out } = result as unknown as EvaluationResult & { out: string };
    const width = Math.max(...Object.keys(metrics).map((name) => name.length));
    const lines = Object.entries(metrics).map(([name, metric]) => `${name.padEnd(width)}  ${withInterval(metric)}`);
    if (sweep !== undefined) {
      const [first = ''] = Object.keys(metrics);
      const points = sweep.points.map(({ value, metrics: own }) => `  ${value}: ${withInterval(own[first]!)}`);
      lines.unshift(`${first} by ${sweep.setting}:`, ...points, `The best is ${sweep.best}:`);
    }
    return `${lines.join('\n')}\nThe report is ${typedPath(`${out}/report.html`)}\n`;
  },
});
