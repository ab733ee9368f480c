/** `tessera export`: a folder of ours as the checkpoint that the official code loads. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { exportCheckpoint } from '../../pipelines/export-checkpoint.ts';
import { oneOf, text } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const exportCommand = defineCommand({
  name: 'export',
  summary: 'write a checkpoint that the official code loads',
  details:
    'Names, order, values and types are kept; the state dict is wrapped as the official scripts expect it. From the run of a ' +
    "GPT, or one of its checkpoints, the trainer's own file: model, optimizer, steps, ema. From other runs, the averaged network.",
  args: {
    source: { type: 'positional', required: true, description: 'model, tokenizer or run folder' },
    out: { type: 'string', required: true, valueHint: 'FILE', description: '.pth, .pt or .ckpt file to write' },
    part: { type: 'string', valueHint: 'WHICH', description: 'of a model folder: generator (default) or tokenizer' },
    'checkpoint-folder': {
      type: 'boolean',
      description: 'write the five files of AutoNAT and ENAT; --out is then a folder such as 7.ckpt',
    },
  },
  examples: [
    { command: 'export models/enat-l --out nnet_ema.pth', what: 'the averaged network' },
    { command: 'export runs/gpt-b --out 1501200.pt', what: "a GPT's run, to sample or to train on there" },
    { command: 'export models/enat-l --part tokenizer --out vqgan.ckpt', what: 'its tokenizer' },
    { command: 'export models/enat-l --checkpoint-folder --out workdir/500000.ckpt', what: 'to train on there' },
  ],
  schema: strictConfig({
    source: text('a folder'),
    out: text('a file'),
    part: oneOf(['generator', 'tokenizer']).optional(),
    checkpointFolder: z.boolean().optional(),
  }),
  run: (options) => exportCheckpoint(options),
});
