/** `tessera tokenize`: images to a token data set. */

import { strictConfig } from '@tessera/schedule';
import { tokenize } from '../../pipelines/tokenize.ts';
import { text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const tokenizeCommand = defineCommand({
  name: 'tokenize',
  summary: 'turn a folder of images into tokens',
  details: 'Every image is cropped to a square, encoded once and stored as a row of token ids with its label.',
  args: {
    images: { type: 'positional', required: true, description: 'folder of images, a class a folder' },
    out: { type: 'string', required: true, valueHint: 'FOLDER', description: 'token data set to write' },
    tokenizer: {
      type: 'string',
      required: true,
      valueHint: 'PATH',
      description: 'a model folder, a tokenizer folder, or an official checkpoint of one',
    },
    size: { type: 'string', valueHint: 'PX', description: "pixels of a side (default: the model's)" },
  },
  examples: [
    {
      command: 'tokenize photos --tokenizer runs/photos/model --out tokens/photos',
      what: 'with the tokenizer of a model',
    },
  ],
  schema: strictConfig({
    images: text('a folder of images'),
    out: text('a folder'),
    tokenizer: text('a folder or a file'),
    size: wholeNumber(8, 4096).optional(),
  }),
  run: (options, { signal }) => tokenize({ ...options, signal }),
});
