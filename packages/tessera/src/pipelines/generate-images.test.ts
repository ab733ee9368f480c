import { autoregressiveSettings } from '@tessera/schedule';
import { manualSeed } from '@tessera/torch';
import { expect, test } from 'vitest';
import { Gpt } from '../models/gpt.ts';
import { gptConfigSchema } from '../models/gpt-config.ts';
import { initialise } from '../nn/module.ts';
import type { PipelineEvent } from './events.ts';
import { generateImages } from './generate-images.ts';

test('a GPT says once what its cache takes: keys and values of both branches, the last token never stored', async () => {
  manualSeed(1);
  const sizes = { gridSize: 4, codebookSize: 8, numClasses: 3, embedDim: 512, depth: 2, numHeads: 8 };
  const model = initialise((p) => new Gpt(gptConfigSchema.parse(sizes), p));
  const strategy = autoregressiveSettings({ guidanceScale: 2 });
  const events: PipelineEvent[] = [];
  const drawn: number[] = [];
  const options = { strategy, labels: [0, 1, 2, 0, 1], seed: 0, batch: 3 };
  for await (const event of generateImages(model, options, ({ tokens }) => void drawn.push(tokens.size(0)))) {
    events.push(event);
  }
  model.dispose();
  expect(drawn).toEqual([3, 2]);
  // 2 · 2 blocks · 6 rows · 16 positions · 512 channels · 4 bytes.
  expect(events.filter((event) => event.kind === 'note')).toEqual([
    { kind: 'note', message: 'The cache of keys and values takes 0.8 MiB for 3 images at a time.' },
  ]);
});
