/** `tessera train`: a generator on a token data set. */

import { MASK_DISTRIBUTIONS, strictConfig } from '@tessera/schedule';
import { stringify as stringifyYaml } from 'yaml';
import { z } from 'zod';
import { modelPresetNames } from '../../models/presets.ts';
import { train } from '../../pipelines/train.ts';
import { lrSchedules } from '../../pipelines/train-schedule.ts';
import { precisions } from '../../pipelines/train-settings.ts';
import { tokenizerPresets } from '../../tokenizers/registry.ts';
import { numberList, oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train a generator on tokens',
  details:
    "Each model comes with a recipe: the originals' for the published sizes (AdamW with betas 0.99 and 0.99 and weight decay 0.03, " +
    'a constant rate after the warm-up, mask ratios from Beta(12, 3), for ENAT temporal reuse in half of the shards; for GPT betas 0.9 and 0.95, decay 0.05 on matrices, gradients clipped at 1), shorter ones for ' +
    'the small sizes. A file changes the recipe, flags change both; --dry-run shows what comes of it. The same command again goes on ' +
    'where it stopped.',
  args: {
    model: { type: 'string', valueHint: 'PRESET', description: modelPresetNames.join(', ') },
    config: { type: 'string', valueHint: 'FILE', description: "settings as YAML, AutoNAT's own file included" },
    data: {
      type: 'string',
      multiple: true,
      valueHint: 'PATH',
      description:
        'tokens in any layout, see tessera tokenize; given more than once: mixed (of the same images, a visit draws the source)',
    },
    mix: {
      type: 'string',
      multiple: true,
      valueHint: 'W,W,…',
      description: 'weights of several --data (default: alike)',
    },
    size: { type: 'string', valueHint: 'PX', description: 'pixels of the images, where a --data holds several sizes' },
    verify: { type: 'boolean', description: 'read all tokens first and compare checksums and ranges' },
    'held-out': { type: 'string', valueHint: 'FOLDER', description: 'token data set to measure on' },
    out: { type: 'string', valueHint: 'RUN', description: 'run folder' },
    tokenizer: {
      type: 'string',
      valueHint: 'FOLDER',
      description: 'model or tokenizer folder: gives samples and a model folder',
    },
    steps: { type: 'string', valueHint: 'N', description: "optimizer steps (default: the model's)" },
    'global-batch': { type: 'string', valueHint: 'N', description: "images a step (default: the model's)" },
    'shard-size': {
      type: 'string',
      valueHint: 'N',
      description: 'images at a time: smaller shards need less memory, gradients are accumulated',
    },
    lr: { type: 'string', valueHint: 'RATE', description: "learning rate (default: the model's)" },
    'warmup-steps': { type: 'string', valueHint: 'N', description: "steps of a rising rate (default: the model's)" },
    'weight-decay': { type: 'string', valueHint: 'X', description: "of the optimizer (default: the model's)" },
    clip: { type: 'string', valueHint: 'NORM', description: "largest norm of the gradient (default: the model's)" },
    'ema-decay': {
      type: 'string',
      valueHint: 'X[,X]',
      description:
        'decay of the averaged weights (default 0.9999); several are kept beside each other; none: the weights themselves',
    },
    seed: { type: 'string', valueHint: 'N', description: 'of every draw (default 0)' },
    'checkpoint-every': { type: 'string', valueHint: 'N', description: 'steps between checkpoints' },
    'mask-distribution': {
      type: 'string',
      valueHint: 'NAME',
      description: `of mask ratios: ${MASK_DISTRIBUTIONS.join(', ')}`,
    },
    'mask-beta': {
      type: 'string',
      values: 2,
      valueHint: 'A B',
      description: 'of the beta distribution (default 12 3)',
    },
    'label-smoothing': { type: 'string', valueHint: 'X', description: 'default 0.1' },
    'label-drop': { type: 'string', valueHint: 'SHARE', description: 'of labels left out, for guidance' },
    'reuse-probability': {
      type: 'string',
      valueHint: 'P',
      description: 'ENAT: share of shards that train reuse (default 0.5)',
    },
    'reuse-from': {
      type: 'string',
      valueHint: 'ema|self',
      description: 'ENAT: who encodes the step before (default ema)',
    },
    'num-classes': { type: 'string', valueHint: 'N', description: "classes of the model (default: the data's)" },
    epochs: { type: 'string', valueHint: 'N', description: 'the length in passes over the data, instead of --steps' },
    images: { type: 'string', valueHint: 'N', description: 'the length in images, instead of --steps' },
    'lr-schedule': {
      type: 'string',
      valueHint: 'NAME',
      description: 'constant, cosine, or npp: warm-up, constant and decay in each stage',
    },
    'end-lr': { type: 'string', valueHint: 'RATE', description: 'npp: what the decay aims at (default: a tenth)' },
    'warmup-epochs': { type: 'string', valueHint: 'N', description: 'warm-up in epochs (npp: 1)' },
    'decay-ratio': { type: 'string', valueHint: 'SHARE', description: 'npp: of a stage that decays (default 0.2)' },
    'patch-level': {
      type: 'string',
      valueHint: 'N',
      description: 'GPT: stages of next-patch prediction, coarse to single tokens (default 1: plain)',
    },
    'epoch-rate': {
      type: 'string',
      valueHint: 'SHARE',
      description: 'GPT: of the end of a stage at which the one before it ends (default 0.5)',
    },
    'also-save-to': { type: 'string', valueHint: 'FOLDER', description: 'every checkpoint goes there too' },
    'init-from': {
      type: 'string',
      valueHint: 'PATH',
      description: 'weights to start from: folder, checkpoint or file',
    },
    entry: {
      type: 'string',
      valueHint: 'NAME',
      description: 'with --init-from: which state dict of a file with several, such as ema',
    },
    'ignore-keys': {
      type: 'string',
      multiple: true,
      values: Number.POSITIVE_INFINITY,
      valueHint: 'NAME…',
      description: 'with --init-from: tensors to learn anew, by the beginning of their names',
    },
    'exact-original': {
      type: 'boolean',
      description:
        "the released trainers' quirks too: two steps at rate 0, every other batch thrown away, labels dropped twice",
    },
    precision: {
      type: 'string',
      valueHint: 'NAME',
      description: 'of matrix products in training: float32 (default), bf16 or fp16 with a scaled loss (for GPUs)',
    },
    recompute: { type: 'boolean', description: 'less memory, more time: run each block again in the backward pass' },
    'shard-optimizer': {
      type: 'boolean',
      description: 'under launch: each process keeps the moments of a share of the weights (ZeRO stage 1)',
    },
    'shard-parameters': {
      type: 'boolean',
      description:
        'GPT, under launch: each process keeps a piece of every weight, average and moment and gathers a block when it runs ' +
        '(FSDP, ZeRO stage 3; recomputes blocks); gpt-3b and gpt-7b do so by themselves among several processes',
    },
    'dry-run': { type: 'boolean', description: 'show the settings and do nothing' },
  },
  examples: [
    {
      command:
        'train --model enat-nano --data tokens/photos --tokenizer runs/photos/model --out runs/nano --steps 2000',
      what: 'a small ENAT, with samples along the way',
    },
    {
      command: 'train --config AutoNAT_L.yaml --data tokens/imagenet --out runs/autonat-l --mask-beta 12 3',
      what: "AutoNAT-L by its authors' file",
    },
    {
      command:
        'train --model autonat-l --data tokens/birds --init-from nnet.pth --ignore-keys context_embed --lr 1e-4 --out runs/birds',
      what: 'published weights on classes of your own',
    },
    {
      command:
        'train --model gpt-b --data codes --size 256 --patch-level 2 --epoch-rate 0.5 --lr-schedule npp --out runs/gpt-b',
      what: 'next-patch prediction: half of the epochs on patches of 2x2 tokens',
    },
  ],
  resumable: true,
  schema: strictConfig({
    model: oneOf(modelPresetNames, trainedElsewhere).optional(),
    config: text('a file').optional(),
    data: z.array(text('tokens')).optional(),
    mix: numberList(1, 64).optional(),
    verify: z.boolean().optional(),
    heldOut: text('a folder').optional(),
    out: text('a folder').optional(),
    tokenizer: text('a folder').optional(),
    steps: wholeNumber(1, 2 ** 31).optional(),
    globalBatch: wholeNumber(1, 1 << 20).optional(),
    shardSize: wholeNumber(1, 1 << 20).optional(),
    lr: realNumber(0, 1e3).optional(),
    warmupSteps: wholeNumber(0, 2 ** 31).optional(),
    weightDecay: realNumber(0, 10).optional(),
    clip: realNumber(1e-12, 1e12).optional(),
    emaDecay: text('a decay')
      .transform((list) => [list === 'none' ? '0' : list])
      .pipe(numberList(1, 8))
      .optional(),
    seed: wholeNumber(0).optional(),
    checkpointEvery: wholeNumber(1, 2 ** 31).optional(),
    maskDistribution: oneOf(MASK_DISTRIBUTIONS).optional(),
    maskBeta: numberList(2, 2).optional(),
    labelSmoothing: realNumber(0, 0.9).optional(),
    labelDrop: realNumber(0, 1).optional(),
    reuseProbability: realNumber(0, 1).optional(),
    reuseFrom: oneOf(['ema', 'self']).optional(),
    numClasses: wholeNumber(1, 1 << 20).optional(),
    epochs: wholeNumber(1, 1_000_000).optional(),
    images: wholeNumber(1).optional(),
    size: wholeNumber(1, 65536).optional(),
    lrSchedule: oneOf(lrSchedules).optional(),
    endLr: realNumber(0, 1e3).optional(),
    warmupEpochs: realNumber(0, 1e6).optional(),
    decayRatio: realNumber(0, 1).optional(),
    patchLevel: wholeNumber(1, 6).optional(),
    epochRate: realNumber(1e-6, 0.999999).optional(),
    alsoSaveTo: text('a folder').optional(),
    initFrom: text('weights').optional(),
    entry: text('a name').optional(),
    ignoreKeys: z.array(text('a name')).optional(),
    exactOriginal: z.boolean().optional(),
    precision: oneOf(precisions).optional(),
    recompute: z.boolean().optional(),
    shardOptimizer: z.boolean().optional(),
    shardParameters: z.boolean().optional(),
    dryRun: z.boolean().optional(),
  }),
  run: ({ lr, ...options }, { signal }) => train({ ...options, learningRate: lr, signal }),
  print: ({ settings }) => (settings === undefined ? '' : stringifyYaml(settings)),
});

/** What to do about the name of a tokenizer. */
function trainedElsewhere(name: string): string | undefined {
  if (!tokenizerPresets().has(name)) return undefined;
  return `${name} is a tokenizer, which tessera train-tokenizer IMAGES --out RUN --model ${name} trains`;
}
