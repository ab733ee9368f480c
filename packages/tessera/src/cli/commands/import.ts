/** `tessera import`: an official checkpoint as a model folder or a tokenizer folder. */

import { strictConfig } from '@tessera/schedule';
import { modelPresetNames } from '../../models/presets.ts';
import { importCheckpoint } from '../../pipelines/import-checkpoint.ts';
import { architectureNames } from '../../pipelines/official/architectures.ts';
import { oneOf, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const importCommand = defineCommand({
  name: 'import',
  summary: 'turn an official checkpoint into a folder of ours',
  details:
    'Reads PyTorch and safetensors files without executing any of them, bare or wrapped. The architecture is told by the ' +
    'names of the tensors; missing, unexpected and misshapen ones are all reported at once.',
  args: {
    source: {
      type: 'positional',
      required: true,
      description: 'weights file, or a folder with nnet_ema.pth and its four companions, or with consolidated.pth',
    },
    out: { type: 'string', required: true, valueHint: 'FOLDER', description: 'folder to write' },
    tokenizer: {
      type: 'string',
      valueHint: 'PATH',
      description: 'of a generator: its tokenizer, a folder of ours or an official file',
    },
    family: { type: 'string', valueHint: 'NAME', description: `what it must be: ${architectureNames.join(', ')}` },
    entry: { type: 'string', valueHint: 'NAME', description: 'which state dict of several, such as ema' },
    'encoder-depth': { type: 'string', valueHint: 'N', description: 'of an ENAT: blocks of the encoder' },
    'decoder-depth': { type: 'string', valueHint: 'N', description: 'of an ENAT: blocks of the decoder' },
    'num-heads': { type: 'string', valueHint: 'N', description: 'of a generator: attention heads' },
    'grid-size': { type: 'string', valueHint: 'N', description: 'of a GPT: tokens of a side' },
    model: {
      type: 'string',
      valueHint: 'PRESET',
      description: 'of a generator: what its shapes do not tell, as of this model size',
    },
    classes: {
      type: 'string',
      valueHint: 'JSON',
      description:
        "of a generator: list of class names by label, or labels (default: of 1,000 ImageNet's, else labels)",
    },
    strategy: { type: 'string', valueHint: 'FILE', description: 'of a generator: how to sample it by default' },
  },
  examples: [
    { command: 'import vqgan_jax_strongaug.ckpt --out models/maskgit-vqgan', what: "MAGE's tokenizer" },
    { command: 'import vq_ds16_c2i.pt --out models/vq16', what: "LlamaGen's VQ-16" },
    {
      command:
        'import nnet_ema.pth --tokenizer vqgan_jax_strongaug.ckpt --encoder-depth 22 --num-heads 16 --out models/enat-l',
      what: 'ENAT-L, ready to sample',
    },
    {
      command: 'import 1501200.pt --model gpt-b --tokenizer vq_ds16_c2i.pt --out models/gpt-b',
      what: "a GPT's checkpoint with all that its trainer needs to go on",
    },
  ],
  schema: strictConfig({
    source: text('a checkpoint'),
    out: text('a folder'),
    tokenizer: text('a tokenizer').optional(),
    family: oneOf(architectureNames).optional(),
    entry: text('a name').optional(),
    encoderDepth: wholeNumber(1, 256).optional(),
    decoderDepth: wholeNumber(1, 256).optional(),
    numHeads: wholeNumber(1, 256).optional(),
    gridSize: wholeNumber(1, 256).optional(),
    model: oneOf(modelPresetNames).optional(),
    classes: text('a file').optional(),
    strategy: text('a file').optional(),
  }),
  run: (options) => importCheckpoint(options),
});
