// `npm run bench -- sample`: images a second of a model folder, by its own strategy, guidance and decoding included, from
// noise to pixels; and the published NAT sizes with random weights, noise to tokens, in float32 and int8, against the order
// of the released code on the same engine (reference-nat.mjs) and against the machine's matrix products (nat-sampling.mjs).
// `--model` chooses one folder or size.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noGrad, scope, setNumThreads } from '@tessera/torch';
import { generateTokens, modelPresetNames, openModelFolder, philoxNoise } from 'tessera';
import { machine } from './machine.mjs';
import { measure } from './measure.mjs';
import { print } from './print.mjs';

const SHIPPED = fileURLToPath(new URL('../packages/models-emoji/emoji-32', import.meta.url));
const BATCHES = [1, 16, 64];
const PUBLISHED = ['autonat-l', 'enat-l'];
const NAT_BATCH = 4;
/** Of a published size; where a round takes minutes and no size is named, one is all there is time for. */
const NAT_ROUNDS = 3;
const NAT_LAST_START_SECONDS = 100;

export async function bench(options) {
  setNumThreads(options.threads);
  const about = machine();
  const isSize = modelPresetNames.includes(options.model);
  const rows = isSize ? [] : await folderRows(options);
  const sizes = options.model === undefined ? PUBLISHED : isSize ? [options.model] : [];
  for (const name of sizes) rows.push(...natRows(name, options));
  print(options, { name: 'sample', machine: about, rows });
}

async function folderRows(options) {
  const path = options.model ?? SHIPPED;
  if (!existsSync(join(path, 'config.json'))) {
    const name = options.model ?? 'packages/models-emoji/emoji-32';
    process.stderr.write(`bench: expected a model folder at ${name}, there is none: nothing to sample.\n`);
    return [];
  }
  const folder = openModelFolder(path);
  const cases = BATCHES.map((batch) => ({
    name: `${basename(resolve(path))}, ${folder.strategy.numSteps} steps, batch ${batch}`,
    unit: 'images/s',
    value: (seconds) => batch / seconds,
    run: () => sampleOnce(folder, batch),
  }));
  const rows = await measure(cases, options.rounds, undefined, () => {});
  folder.dispose();
  return rows;
}

/** In a process of its own, whose peak memory is then the model's. */
function natRows(name, { model, rounds, threads }) {
  const script = fileURLToPath(new URL('./nat-sampling.mjs', import.meta.url));
  const lastStart = model === undefined ? NAT_LAST_START_SECONDS : Number.POSITIVE_INFINITY;
  const words = [script, name, NAT_BATCH, Math.min(rounds, NAT_ROUNDS), threads, lastStart].map(String);
  const { status, stdout } = spawnSync(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) throw new Error(`nat-sampling.mjs ${name} ended with ${status}`);
  const { seconds, rate, against, share, macs, int8, equalTokens, equalKept, ...rest } = JSON.parse(stdout);
  const once = (value) => ({ median: value, low: value, high: value });
  const times = ({ median, low, high }, factor) => ({
    median: median * factor,
    low: low * factor,
    high: high * factor,
  });
  const imagesPerSecond = ({ median, low, high }) => ({
    median: NAT_BATCH / median,
    low: NAT_BATCH / high,
    high: NAT_BATCH / low,
  });
  const row = (what, unit, ours) => ({
    name: `${name}, ${rest.numSteps} steps, batch ${NAT_BATCH}: ${what}`,
    unit,
    ours,
  });
  // Both kinds of strategy, each with the classes' first steps yet to be run, and with them kept.
  const ways = [
    ['ours', 'whole'],
    ['ours, --skip-guidance-below 0.001', 'skipping'],
    ['ours, openings kept', 'kept'],
    ['ours, openings kept, skipping', 'keptSkipping'],
  ];
  const each = (what, unit, value) => ways.map(([how, key]) => row(`${how}${what}`, unit, value(key)));
  return [
    ...each('', 'images/s', (key) => imagesPerSecond(seconds[key])),
    row('order of the released code', 'images/s', imagesPerSecond(seconds.released)),
    ...each(': against that order', 'times', (key) => against[key]),
    ...each(': its products against ours', 'times', (key) => once(macs.released / macs[key])),
    row('matmul rate', 'GMAC/s', times(rate, 1e-9)),
    ...each(': share of that rate', '%', (key) => times(share[key], 100)),
    row('order of the released code: share of that rate', '%', times(share.released, 100)),
    row('ours: tokens equal to that order', '%', once(equalTokens * 100)),
    row('ours, openings kept: tokens equal to those without', '%', once(equalKept * 100)),
    ...(int8 === undefined
      ? []
      : [
          row('ours, skipping, --dtype int8', 'images/s', imagesPerSecond(int8.seconds)),
          row('int8 against float32', 'times', once(seconds.skipping.median / int8.seconds.median)),
          row('tokens equal to float32', '%', once(int8.equalTokens * 100)),
        ]),
    row('peak memory over weights, batch 1', 'times', once(rest.peakBytes / rest.weightBytes)),
  ];
}

function sampleOnce({ model, tokenizer, strategy, classes }, batch) {
  const indices = Array.from({ length: batch }, (_, i) => i);
  const labels = indices.map((i) => i % classes.length);
  scope(() => {
    const tokens = generateTokens(model, { strategy, labels, noise: philoxNoise(0, indices) });
    noGrad(() => tokenizer.decode(tokens)).toBytes();
  });
}
