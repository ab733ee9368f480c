/** `tessera fit`: a folder of images in, a generator out. */

import { basename, join, resolve } from 'node:path';
import { strictConfig } from '@tessera/schedule';
import { type FitOptions, fit } from '../../pipelines/fit.ts';
import { oneOf, realNumber, text, typedPath, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

const schema = strictConfig({
  images: text('a folder of images'),
  out: text('a run folder').optional(),
  minutes: realNumber(0.1, 1e6).optional(),
  size: wholeNumber(8, 1024).optional(),
  plan: text('a plan file').optional(),
  memory: realNumber(0, 1e5).optional(),
  seed: wholeNumber(0).optional(),
  tokenizer: oneOf(['auto', 'keep', 'fine-tune', 'train']).optional(),
});

export const fitCommand = defineCommand({
  name: 'fit',
  summary: 'make a generator of a folder of images',
  details:
    'One folder a class, or one folder of images. Measures the machine, plans the steps for the minutes given, chooses a ' +
    'tokenizer, trains, and leaves a model folder, samples and report.html in the run folder. Stopped or killed, the ' +
    'same command goes on where it was and ends in the same model: by its plan.json, whatever --minutes and --tokenizer say.',
  args: {
    images: {
      type: 'positional',
      required: true,
      description: 'folder of images; train/ and held-out/ in it are kept apart',
    },
    out: { type: 'string', valueHint: 'RUN', description: 'run folder (default: runs/fit-NAME)' },
    minutes: {
      type: 'string',
      valueHint: 'M',
      description: 'time for everything (default 10); the plan then decides, not the clock',
    },
    size: { type: 'string', valueHint: 'PX', description: 'pixels of a side (default 32; 64 from 30 minutes on)' },
    plan: { type: 'string', valueHint: 'FILE', description: 'repeat the plan.json of another run' },
    memory: {
      type: 'string',
      valueHint: 'GIB',
      description: 'decoded images kept, in GiB; the others are decoded at each visit (default 2)',
    },
    seed: { type: 'string', valueHint: 'N', description: 'of every draw (default 0)' },
    tokenizer: {
      type: 'string',
      valueHint: 'HOW',
      description: 'auto, keep, fine-tune or train (default auto: by held-out PSNR)',
    },
  },
  examples: [
    { command: 'fit photos', what: 'ten minutes, the folder photos/' },
    { command: 'fit photos --minutes 60 --out runs/photos', what: 'an hour at 64 px, in a folder of your choice' },
    { command: 'fit photos --plan runs/photos/plan.json --out runs/again', what: 'the same run once more' },
  ],
  resumable: true,
  schema,
  run: ({ images, out, memory, ...rest }, { signal }) => {
    const options: FitOptions = {
      images,
      out: out ?? join('runs', `fit-${basename(resolve(images))}`),
      memory: memory === undefined ? undefined : memory * 2 ** 30,
      signal,
      ...rest,
    };
    return fit(options);
  },
  print: ({ model, report }) =>
    `The model is ${typedPath(model)}, the report ${typedPath(report)}\nNext: tessera sample ${typedPath(model)}\n`,
});
