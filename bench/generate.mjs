// How fast a GPT draws: GPT-B, four images with guidance (eight rows), the tokens of a 256 px image, against the same
// steps executed as the reference executes them (reference-gpt.mjs), in turns. Fresh weights serve: the time of a step
// does not depend on their values. `--rounds` is the number of turns, `--tokens` shortens them.

import { autoregressiveSettings } from '@tessera/schedule';
import { manualSeed, noGrad, scope, setNumThreads, tensor } from '@tessera/torch';
import { AutoregressiveGeneration, Gpt, initialise, modelPreset, philoxTokenNoise } from 'tessera';
import { machine } from './machine.mjs';
import { summary } from './measure.mjs';
import { print } from './print.mjs';
import { referenceGenerate } from './reference-gpt.mjs';

const LABELS = [207, 360, 387, 974];
const GUIDANCE = 2;

export async function bench(options) {
  setNumThreads(options.threads);
  manualSeed(0);
  const about = machine();
  const { config } = modelPreset('gpt-b');
  const model = initialise((p) => new Gpt(config, p));
  // The head starts at zero, so every draw would be uniform; its values do not matter to the time.
  noGrad(() => scope(() => model.state.get('output.weight').normal_(0, 0.02)));
  const count = options.tokens ?? model.seqLen;
  let cacheBytes = 0;
  const cases = [
    { name: 'ours, float32', run: () => (cacheBytes = generate(model, count)) },
    { name: 'ours, int8 weights', run: () => generate(model, count), before: () => model.quantize() },
    { name: 'as the reference', run: () => reference(model, count) },
  ];
  const seconds = cases.map(() => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [i, { run, before }] of cases.entries()) {
      before?.();
      const began = performance.now();
      run();
      seconds[i].push((performance.now() - began) / 1000);
      model.dropQuantized();
    }
  }
  const what = `gpt-b, ${LABELS.length} images with guidance, ${count} tokens`;
  const rows = cases.map(({ name }, i) => ({ name: `${what}: ${name}`, unit: 's', ours: summary(seconds[i]) }));
  const ratios = seconds[0].map((ours, round) => seconds.at(-1)[round] / ours);
  rows.push({ name: 'the reference takes, of ours in float32', unit: 'times', ours: summary(ratios) });
  const mebibytes = cacheBytes / 2 ** 20;
  rows.push({
    name: 'cache of keys and values',
    unit: 'MiB',
    ours: { median: mebibytes, low: mebibytes, high: mebibytes },
  });
  print(options, { name: 'generate', machine: about, rows });
  model.dispose();
}

function generate(model, count) {
  const generation = new AutoregressiveGeneration(model, {
    settings: autoregressiveSettings({ guidanceScale: GUIDANCE }),
    noise: philoxTokenNoise(0),
    images: LABELS.map((_, i) => i),
    condition: (images, guided) =>
      model.conditionOn(
        tensor(
          images.map((image) => LABELS[image]),
          'int64',
        ),
        guided,
      ),
    slots: LABELS.length,
    maxTokens: count,
  });
  while (!generation.isDone) for (const { tokens } of generation.step()) tokens.dispose();
  const { cacheBytes } = generation;
  generation.dispose();
  return cacheBytes;
}

function reference(model, count) {
  scope(() => referenceGenerate(model, tensor(LABELS, 'int64'), GUIDANCE, count));
}
