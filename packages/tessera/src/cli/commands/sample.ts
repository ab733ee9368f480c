/** `tessera sample`: images from a model folder, or token ids from a checkpoint. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { modelPresetNames } from '../../models/presets.ts';
import { strategyNames } from '../../pipelines/choose-strategy.ts';
import { flagName } from '../../pipelines/flag-name.ts';
import { weightsTypes } from '../../pipelines/open-generator.ts';
import { sample } from '../../pipelines/sample.ts';
import { sampleEvaluation } from '../../pipelines/sample-evaluation.ts';
import { sampleTokens } from '../../pipelines/sample-tokens.ts';
import { oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { CliError } from '../cli-error.ts';
import { defineCommand } from '../command.ts';

const schema = strictConfig({
  modelFolder: text('a model folder').optional(),
  class: z.array(z.string()).optional(),
  numImages: wholeNumber(1, 10_000_000).optional(),
  perClass: wholeNumber(1, 1_000_000).optional(),
  seed: wholeNumber(0).optional(),
  strategy: text('the name of a strategy or a file').optional(),
  numSteps: wholeNumber(1, 65536).optional(),
  guidanceScale: realNumber(-1000, 1000).optional(),
  choiceTemperature: realNumber(0, 1e6).optional(),
  sampleTemperature: realNumber(0, 1e6).optional(),
  skipGuidanceBelow: realNumber(0, 1e6).optional(),
  batch: wholeNumber(1, 65536).optional(),
  tile: wholeNumber(1, 65536).optional(),
  out: text('a folder').optional(),
  reveal: z.boolean().optional(),
  revealGif: z.boolean().optional(),
  npz: text('a file').optional(),
  weights: text('a weights file').optional(),
  tokens: text('a file to write').optional(),
  model: oneOf(modelPresetNames).optional(),
  encoderDepth: wholeNumber(1, 256).optional(),
  decoderDepth: wholeNumber(1, 256).optional(),
  numHeads: wholeNumber(1, 256).optional(),
  tokenizer: text('a tokenizer').optional(),
  tokenizerWeights: text('a weights file').optional(),
  demoGrid: z.boolean().optional(),
  size: wholeNumber(1, 65536).optional(),
  outputSize: wholeNumber(1, 65536).optional(),
  topK: wholeNumber(0, 1 << 24).optional(),
  topP: realNumber(0, 1).optional(),
  greedy: z.boolean().optional(),
  dtype: oneOf(weightsTypes).optional(),
});

type Options = z.output<typeof schema>;

const FOLDER_ONLY = ['out', 'tile', 'reveal', 'revealGif', 'npz'] as const;
const WEIGHTS_ONLY = [
  'tokens',
  'model',
  'encoderDepth',
  'decoderDepth',
  'numHeads',
  'tokenizer',
  'tokenizerWeights',
  'size',
  'outputSize',
  'demoGrid',
] as const;
/** Of the ways to use --weights, those with a tokenizer alone. */
const PICTURES_ONLY = ['outputSize', 'demoGrid'] as const;

export const sampleCommand = defineCommand({
  name: 'sample',
  summary: 'make images with a model',
  details:
    'Writes a PNG an image, and grid.png with one row a class. Image i of a seed is the same image for any --batch and any ' +
    'number of images; a folder with pictures of another run is refused. With --weights instead of a folder: of a checkpoint, with a tokenizer a PNG an image and an archive of all ' +
    'pixels, without one token ids. Pictures that are there are kept, and each process of a group (RANK, WORLD_SIZE) draws its share.',
  args: {
    'model-folder': { type: 'positional', required: false, description: 'folder with config.json, weights, tokenizer' },
    class: {
      type: 'string',
      multiple: true,
      valueHint: 'NAMES',
      description: 'class names or numbers, separated by commas or given repeatedly (default: all)',
    },
    'num-images': { type: 'string', valueHint: 'N', description: 'images in all (default: about 64)' },
    'per-class': { type: 'string', valueHint: 'N', description: 'images of each class, instead of --num-images' },
    seed: { type: 'string', valueHint: 'N', description: 'what the noise follows from (default 0)' },
    strategy: {
      type: 'string',
      valueHint: 'NAME|FILE',
      description: `${strategyNames.join(', ')}, or a YAML file, AutoNAT's included (default: the model's own)`,
    },
    'num-steps': { type: 'string', valueHint: 'N', description: 'steps of enat, cosine and halton (default 8)' },
    'guidance-scale': {
      type: 'string',
      valueHint: 'S',
      description:
        's in uncond + s (cond - uncond), 1 = off, at the most guided step; papers that write cond + w (cond - uncond) mean w = s - 1',
    },
    'choice-temperature': { type: 'string', valueHint: 'T', description: 'noise on the choice of tokens to keep' },
    'sample-temperature': { type: 'string', valueHint: 'T', description: 'divides the logits' },
    'skip-guidance-below': {
      type: 'string',
      valueHint: 'E',
      description: 'run steps with |s - 1| below E without guidance, at half the cost',
    },
    batch: { type: 'string', valueHint: 'N', description: 'images at a time (default: by their size)' },
    out: { type: 'string', valueHint: 'FOLDER', description: 'where to write (default: a new folder in samples/)' },
    tile: {
      type: 'string',
      valueHint: 'N',
      description: 'decode larger pictures N rows of tokens at a time: the same pictures in less memory (default 32)',
    },
    reveal: { type: 'boolean', description: 'also an animated WebP of the steps' },
    'reveal-gif': { type: 'boolean', description: 'the same as GIF' },
    npz: { type: 'string', valueHint: 'FILE', description: 'also all pixels: arr_0, uint8 [N, Y, X, 3]' },
    weights: { type: 'string', valueHint: 'FILE', description: 'a checkpoint, .pth or .safetensors' },
    tokens: { type: 'string', valueHint: 'FILE', description: 'with --weights: npy file for the ids, int64 [N, L]' },
    model: {
      type: 'string',
      valueHint: 'PRESET',
      description: `with --weights: what its shapes do not tell, ${modelPresetNames.join(', ')}`,
    },
    'encoder-depth': { type: 'string', valueHint: 'N', description: 'with --weights: blocks of the encoder' },
    'decoder-depth': { type: 'string', valueHint: 'N', description: 'with --weights: blocks of the decoder' },
    'num-heads': { type: 'string', valueHint: 'N', description: 'with --weights: attention heads' },
    tokenizer: {
      type: 'string',
      valueHint: 'NAME|FOLDER',
      description: 'with --weights: a tokenizer or model folder, or an architecture such as maskgit-vqgan',
    },
    'tokenizer-weights': {
      type: 'string',
      valueHint: 'FILE',
      description: "with --weights: the tokenizer's published file",
    },
    size: { type: 'string', valueHint: 'PX', description: 'with --weights: what the model draws' },
    'output-size': { type: 'string', valueHint: 'PX', description: 'with a tokenizer: of the pictures' },
    'demo-grid': {
      type: 'boolean',
      description: "with a tokenizer: one picture of eight classes, LlamaGen's demo (GPT: guidance 4, top-k 2000)",
    },
    'top-k': { type: 'string', valueHint: 'K', description: 'GPT: draw from the K most likely codes (default: all)' },
    'top-p': { type: 'string', valueHint: 'P', description: 'GPT: draw from codes that together have probability P' },
    dtype: {
      type: 'string',
      valueHint: 'TYPE',
      description:
        'float32 (default); bfloat16 for GPUs; int8, a little less exact: of a GPT a byte a weight, of autonat and enat faster products on a CPU',
    },
    greedy: { type: 'boolean', description: 'GPT: the most likely code, no draw' },
  },
  examples: [
    { command: 'sample runs/demo-001/model', what: 'about 64 images, some of each class' },
    { command: 'sample MODEL --class food,animals --per-class 16 --reveal', what: 'two classes, step by step' },
    { command: 'sample MODEL --strategy enat --num-steps 12 --guidance-scale 3', what: 'another schedule' },
    {
      command: 'sample --weights nnet_ema.pth --model enat-l --num-images 8 --tokens ids.npy',
      what: "ids of the published ENAT-L's file",
    },
    {
      command:
        'sample --model gpt-b --weights c2i_B_256.pt --tokenizer-weights vq_ds16_c2i.pt --guidance-scale 2 --num-images 50000',
      what: 'pictures and archive for the evaluation of a published GPT',
    },
    {
      command:
        'sample --model autonat-l --weights nnet_ema.pth --tokenizer maskgit-vqgan --tokenizer-weights vqgan_jax_strongaug.ckpt --num-images 50000',
      what: 'the same of a published AutoNAT',
    },
    {
      command: 'sample --model gpt-b --weights c2i_B_256.pt --tokenizer-weights vq_ds16_c2i.pt --demo-grid',
      what: 'eight classes in one picture',
    },
  ],
  schema,
  run: (options, { signal }) => {
    const { modelFolder, weights, tokens, class: classes, model, ...rest } = options;
    if ((modelFolder === undefined) === (weights === undefined)) {
      throw new CliError('ARGUMENT', 'expected a model folder ("tessera sample FOLDER") or --weights FILE.');
    }
    if (modelFolder !== undefined) {
      refuse(options, WEIGHTS_ONLY, '--weights');
      return sample({ ...rest, model: modelFolder, classes, signal });
    }
    const { tokenizer, tokenizerWeights, demoGrid } = rest;
    if (tokenizer !== undefined || tokenizerWeights !== undefined) {
      refuse(options, ['tile', 'reveal', 'revealGif'], 'a model folder');
      refuse(options, ['tokens'], '--weights without a tokenizer');
      if (demoGrid === true) refuse(options, ['numImages', 'perClass', 'class', 'npz'], 'a run without --demo-grid');
      if (model === undefined) throw new CliError('ARGUMENT', 'pictures from --weights: expected --model as well.');
      return sampleEvaluation({ ...rest, classes, weights: weights!, model, signal });
    }
    refuse(options, FOLDER_ONLY, 'a model folder or a tokenizer');
    refuse(options, PICTURES_ONLY, 'a tokenizer (--tokenizer, --tokenizer-weights)');
    if (tokens === undefined)
      throw new CliError('ARGUMENT', '--weights alone makes token ids: expected --tokens FILE, or a tokenizer.');
    // The published tokenizers have 16 px a token; NATs tell their grid themselves.
    const gridSize = rest.size === undefined ? undefined : rest.size / 16;
    return sampleTokens({ ...rest, gridSize, weights: weights!, tokens, preset: model, classes, signal });
  },
  print: (result) => ('out' in result ? `Pictures are in ${String(result.out)}\n` : ''),
});

function refuse(options: Options, names: readonly (keyof Options)[], needed: string): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new CliError('ARGUMENT', `${flagName(given)} belongs to ${needed}.`);
}
