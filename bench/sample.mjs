// `npm run bench -- sample`: images a second of a model folder, by its own strategy, guidance and decoding included, from
// noise to pixels. Without the shipped model, or another one by --model: one line.

import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noGrad, scope, setNumThreads } from '@tessera/torch';
import { generateTokens, openModelFolder, philoxNoise } from 'tessera';
import { machine } from './machine.mjs';
import { measure } from './measure.mjs';
import { print } from './print.mjs';

const SHIPPED = fileURLToPath(new URL('../packages/models-emoji/emoji-32', import.meta.url));
const BATCHES = [1, 16, 64];

export async function bench(options) {
  const path = options.model ?? SHIPPED;
  if (!existsSync(join(path, 'config.json'))) {
    const name = options.model ?? 'packages/models-emoji/emoji-32';
    process.stderr.write(`bench: expected a model folder at ${name}, there is none: nothing to sample.\n`);
    return;
  }
  setNumThreads(options.threads);
  const about = machine();
  const folder = openModelFolder(path);
  const cases = BATCHES.map((batch) => ({
    name: `${basename(resolve(path))}, ${folder.strategy.numSteps} steps, batch ${batch}`,
    unit: 'images/s',
    value: (seconds) => batch / seconds,
    run: () => sampleOnce(folder, batch),
  }));
  print(options, { name: 'sample', machine: about, rows: await measure(cases, options.rounds, undefined, () => {}) });
  folder.dispose();
}

function sampleOnce({ model, tokenizer, strategy, classes }, batch) {
  const indices = Array.from({ length: batch }, (_, i) => i);
  const labels = indices.map((i) => i % classes.length);
  scope(() => {
    const tokens = generateTokens(model, { strategy, labels, noise: philoxNoise(0, indices) });
    noGrad(() => tokenizer.decode(tokens)).toBytes();
  });
}
