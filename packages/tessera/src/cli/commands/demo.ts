/** `tessera demo`: the main job on real images, in a few minutes. */

import { join } from 'node:path';
import { strictConfig } from '@tessera/schedule';
import { demo } from '../../pipelines/demo.ts';
import { realNumber, text, typedPath } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'see it work: sample the shipped model, then fit a new one on emoji',
  args: {
    runs: { type: 'string', valueHint: 'FOLDER', description: 'where demo-001, demo-002, … go (default runs)' },
    minutes: { type: 'string', valueHint: 'M', description: 'of training (default 3)' },
  },
  examples: [
    { command: 'demo', what: 'about four minutes' },
    { command: 'demo --minutes 20', what: 'train longer, see more' },
  ],
  resumable: true,
  schema: strictConfig({ runs: text('a folder').optional(), minutes: realNumber(0.1, 1e5).optional() }),
  run: ({ runs = 'runs', minutes = 3 }, { signal }) => demo({ runs, minutes, signal }),
  print: ({ out, shippedSamples, model, report, images }) =>
    [
      '',
      `Samples of the shipped model:  ${typedPath(join(String(shippedSamples), 'grid.png'))}  and reveal.webp beside it`,
      `What ${typedPath(out)} learnt:  ${typedPath(report)}`,
      '',
      'Next:',
      `  npx tessera sample ${typedPath(model)}`,
      `  npx tessera fit ${typedPath(images)} --minutes 20 --size 32   (or any folder of your images)`,
      '',
    ].join('\n'),
});
