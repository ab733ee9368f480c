/** `tessera train-tokenizer`: a VQ tokenizer on a folder of images. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { recipeNames } from '../../pipelines/tokenizer-recipes.ts';
import { trainTokenizerOnImages } from '../../pipelines/train-tokenizer.ts';
import { tokenizerPresets } from '../../tokenizers/registry.ts';
import { realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

const DEFAULTS = { recipe: 'plain', steps: 10_000, seed: 0 };
const PRESET = 'vq-small';

export const trainTokenizerCommand = defineCommand({
  name: 'train-tokenizer',
  summary: 'train a tokenizer on images',
  details:
    "The recipe plain has squared and absolute errors and revives dead codes; llamagen is the released trainer's: squared " +
    'error, LPIPS and a PatchGAN discriminator from step 20,000 on (more --steps than the default; from the start with ' +
    '--init-from). A YAML file changes single settings of one of them. The same command again goes on where it stopped.',
  args: {
    images: { type: 'positional', required: true, description: 'folder of images' },
    out: {
      type: 'string',
      required: true,
      valueHint: 'RUN',
      description: 'run folder; the tokenizer is its tokenizer/',
    },
    model: {
      type: 'string',
      valueHint: 'PRESET',
      description: `${[...tokenizerPresets().keys()].join(', ')} (default ${PRESET}, or what --init-from is)`,
    },
    size: { type: 'string', valueHint: 'PX', description: "pixels of a side (default: the preset's)" },
    'codebook-size': { type: 'string', valueHint: 'N', description: "codes (default: the preset's)" },
    'init-from': {
      type: 'string',
      valueHint: 'PATH',
      description: 'start from a checkpoint: a model or tokenizer folder, safetensors or a PyTorch file',
    },
    entry: {
      type: 'string',
      valueHint: 'NAME',
      description: 'with --init-from: which state dict of a file with several, such as ema',
    },
    'ignore-keys': {
      type: 'string',
      multiple: true,
      valueHint: 'NAME',
      description: 'tensors of --init-from that start fresh, by the beginning of their names; may be repeated',
    },
    'lpips-weights': {
      type: 'string',
      multiple: true,
      valueHint: 'FILE',
      description: "torchvision's vgg16-397923af.pth and LPIPS's vgg.pth, an option each; without: no perceptual term",
    },
    recipe: {
      type: 'string',
      valueHint: 'NAME|FILE',
      description: `${recipeNames.join(', ')} or a YAML file (default plain)`,
    },
    steps: { type: 'string', valueHint: 'N', description: `optimizer steps (default ${DEFAULTS.steps})` },
    'global-batch': { type: 'string', valueHint: 'N', description: "images a step (default: the recipe's)" },
    'shard-size': { type: 'string', valueHint: 'N', description: 'images of a part of a step (default: 64 or more)' },
    lr: { type: 'string', valueHint: 'RATE', description: "learning rate (default: the recipe's)" },
    'warmup-steps': { type: 'string', valueHint: 'N', description: "default: the recipe's" },
    memory: {
      type: 'string',
      valueHint: 'GIB',
      description: 'decoded images kept, in GiB; the others are decoded at each visit (default 2)',
    },
    'shard-optimizer': {
      type: 'boolean',
      description: 'under launch: each process keeps the moments of a share of the weights (ZeRO stage 1)',
    },
    seed: { type: 'string', valueHint: 'N', description: 'of every draw (default 0)' },
  },
  examples: [
    { command: 'train-tokenizer photos --out runs/tokenizer --steps 2000', what: 'a small tokenizer of 32 px' },
    {
      command:
        'train-tokenizer photos --out runs/tuned --init-from vq_ds16_c2i.pt --recipe llamagen ' +
        '--lpips-weights vgg16-397923af.pth --lpips-weights vgg.pth',
      what: "LlamaGen's VQ-16 trained further, as the released trainer does it",
    },
  ],
  resumable: true,
  schema: strictConfig({
    images: text('a folder of images'),
    out: text('a folder'),
    model: text('a preset').optional(),
    size: wholeNumber(8, 4096).optional(),
    codebookSize: wholeNumber(2, 1 << 20).optional(),
    initFrom: text('a file or folder').optional(),
    entry: text('a name').optional(),
    ignoreKeys: z.array(text('the beginning of a name')).optional(),
    lpipsWeights: z.array(text('a file')).optional(),
    recipe: text('a recipe').optional(),
    steps: wholeNumber(1, 2 ** 31).optional(),
    globalBatch: wholeNumber(1, 1 << 20).optional(),
    shardSize: wholeNumber(1, 1 << 20).optional(),
    lr: realNumber(0, 1e3).optional(),
    warmupSteps: wholeNumber(0, 2 ** 31).optional(),
    memory: realNumber(0, 1e5).optional(),
    shardOptimizer: z.boolean().optional(),
    seed: wholeNumber(0).optional(),
  }),
  run: ({ lr, model, recipe, steps, seed, memory, ...options }, { signal }) =>
    trainTokenizerOnImages({
      ...options,
      model: model ?? (options.initFrom === undefined ? PRESET : undefined),
      recipe: recipe ?? DEFAULTS.recipe,
      steps: steps ?? DEFAULTS.steps,
      seed: seed ?? DEFAULTS.seed,
      learningRate: lr,
      memory: memory === undefined ? undefined : memory * 2 ** 30,
      signal,
    }),
});
