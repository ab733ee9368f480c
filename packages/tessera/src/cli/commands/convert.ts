/** `tessera convert`: tokens from one layout to another. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { convertTokens } from '../../pipelines/convert-tokens.ts';
import { LAYOUTS } from '../../pipelines/tokenize/layouts.ts';
import { oneOf, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const convertCommand = defineCommand({
  name: 'convert',
  summary: 'bring tokens from one layout to another',
  details:
    'Reads a token data set, a .npy file of AutoNAT and ENAT, or a tree of LlamaGen and NPP, and writes another of these. ' +
    'Images keep their order. (Checkpoints: "tessera import" and "tessera export".)',
  args: {
    tokens: { type: 'positional', required: true, description: 'tokens in any layout' },
    out: { type: 'string', required: true, valueHint: 'PATH', description: 'what to write: a folder, or FILE.npy' },
    layout: { type: 'string', required: true, valueHint: LAYOUTS.join('|'), description: 'the layout to write' },
    size: { type: 'string', valueHint: 'PX', description: 'pixels of a side, where the tokens do not say it' },
    flip: { type: 'boolean', description: 'of a .npy file not made here: mirror images follow each batch' },
    'codebook-size': { type: 'string', valueHint: 'V', description: 'of files not made here (default: as published)' },
    'num-classes': { type: 'string', valueHint: 'N', description: 'of files not made here (default 1000)' },
  },
  examples: [
    { command: 'convert train.npy --flip --layout shards --out tokens/train', what: "ENAT's file to a data set" },
    {
      command: 'convert tokens/train --layout llamagen --size 256 --out code_flip',
      what: 'a data set to a file an image, for LlamaGen',
    },
  ],
  schema: strictConfig({
    tokens: text('tokens'),
    out: text('a path'),
    layout: oneOf(LAYOUTS),
    size: wholeNumber(1, 65536).optional(),
    flip: z.boolean().optional(),
    codebookSize: wholeNumber(2, 2 ** 30).optional(),
    numClasses: wholeNumber(1, 2 ** 20).optional(),
  }),
  run: (options, { signal }) => convertTokens({ ...options, signal }),
});
