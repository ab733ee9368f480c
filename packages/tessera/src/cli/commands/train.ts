/** `tessera train`: a generator on a token data set. */

import { strictConfig } from '@tessera/schedule';
import { modelPresetNames } from '../../models/presets.ts';
import { train } from '../../pipelines/train.ts';
import { oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

const DEFAULTS = { steps: 10_000, globalBatch: 64, lr: 4e-4, warmupSteps: 100, seed: 0 };

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train a generator on tokens',
  details:
    'AdamW with betas 0.99 and 0.99, weight decay 0.03, a constant rate after the warm-up, mask ratios from Beta(12, 3), ' +
    'temporal reuse in half of the steps: the recipe of ENAT. The same command again goes on where it stopped.',
  args: {
    model: { type: 'string', required: true, valueHint: 'PRESET', description: modelPresetNames.join(', ') },
    data: { type: 'string', required: true, valueHint: 'FOLDER', description: 'token data set, see tessera tokenize' },
    'held-out': { type: 'string', valueHint: 'FOLDER', description: 'token data set to measure on' },
    out: { type: 'string', required: true, valueHint: 'RUN', description: 'run folder' },
    tokenizer: {
      type: 'string',
      valueHint: 'FOLDER',
      description: 'model or tokenizer folder: gives samples and a model folder',
    },
    steps: { type: 'string', valueHint: 'N', description: `optimizer steps (default ${DEFAULTS.steps})` },
    'global-batch': { type: 'string', valueHint: 'N', description: `images a step (default ${DEFAULTS.globalBatch})` },
    lr: { type: 'string', valueHint: 'RATE', description: `learning rate (default ${DEFAULTS.lr})` },
    'warmup-steps': { type: 'string', valueHint: 'N', description: `default ${DEFAULTS.warmupSteps}` },
    seed: { type: 'string', valueHint: 'N', description: 'of every draw (default 0)' },
  },
  examples: [
    {
      command:
        'train --model enat-nano --data tokens/photos --tokenizer runs/photos/model --out runs/nano --steps 2000',
      what: 'a small ENAT, with samples along the way',
    },
  ],
  resumable: true,
  schema: strictConfig({
    model: oneOf(modelPresetNames),
    data: text('a folder'),
    heldOut: text('a folder').optional(),
    out: text('a folder'),
    tokenizer: text('a folder').optional(),
    steps: wholeNumber(1, 2 ** 31).optional(),
    globalBatch: wholeNumber(1, 1 << 20).optional(),
    lr: realNumber(0, 1e3).optional(),
    warmupSteps: wholeNumber(0, 2 ** 31).optional(),
    seed: wholeNumber(0).optional(),
  }),
  run: ({ lr, ...options }, { signal }) => {
    const { lr: learningRate, ...defaults } = DEFAULTS;
    const given = Object.fromEntries(
      Object.entries(options).filter(([, value]) => value !== undefined),
    ) as typeof options;
    return train({ ...defaults, ...given, learningRate: lr ?? learningRate, signal });
  },
});
