/** `tessera fit`: a folder of images in, a generator out. */

import { basename, join, resolve } from 'node:path';
import { strictConfig } from '@tessera/schedule';
import { fit } from '../../pipelines/fit.ts';
import { oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const fitCommand = defineCommand({
  name: 'fit',
  summary: 'train a generator on a folder of images',
  details:
    'Tokenizer, tokens, generator, samples and report in one go, in about the minutes given. Images may be of any size ' +
    'and format; sub-folders are classes. Stop it whenever you like: the same command goes on.',
  args: {
    images: { type: 'positional', description: 'folder of images, a sub-folder a class' },
    minutes: { type: 'string', valueHint: 'M', description: 'minutes for everything (default 10)' },
    out: { type: 'string', valueHint: 'FOLDER', description: 'run folder (default: runs/ and the name of IMAGES)' },
    size: { type: 'string', valueHint: '32|64', description: 'pixels of a side (default 32; 64 from 30 minutes on)' },
    tokenizer: {
      type: 'string',
      valueHint: 'HOW',
      description: 'auto, or keep, fine-tune or replace the shipped one: auto, keep, fine-tune, train (default auto)',
    },
    seed: { type: 'string', valueHint: 'N', description: 'what all randomness follows from (default 0)' },
    plan: { type: 'string', valueHint: 'FILE', description: 'replay the plan.json of another run' },
  },
  examples: [
    { command: 'fit photos', what: 'ten minutes on the folder photos' },
    { command: 'fit photos --minutes 60 --out runs/hour', what: 'an hour, at 64 px' },
    { command: 'fit photos --plan runs/photos/plan.json --out runs/again', what: 'the same training once more' },
  ],
  resumable: true,
  schema: strictConfig({
    images: text('a folder of images'),
    minutes: realNumber(0.1, 100_000).default(10),
    out: text('a folder').optional(),
    size: oneOf(['32', '64']).transform(Number).optional(),
    tokenizer: oneOf(['auto', 'keep', 'fine-tune', 'train']).default('auto'),
    seed: wholeNumber(0).default(0),
    plan: text('a file').optional(),
  }),
  run: ({ images, minutes, out, size, tokenizer, seed, plan }, { signal }) =>
    fit({
      images,
      minutes,
      tokenizer,
      seed,
      signal,
      out: out ?? join('runs', basename(resolve(images))),
      ...(size === undefined ? {} : { size }),
      ...(plan === undefined ? {} : { plan }),
    }),
  print: ({ model }) => `Make images with it:\n  npx tessera sample ${String(model)}\n`,
});
