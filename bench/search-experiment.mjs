// The experiment of docs/search.md: does searching a schedule pay, and what does it cost? On a model folder (emoji-32 unless told
// otherwise), for T = 4 and 8 and three seeds, all budgets fixed here beforehand:
//
//   baseline   the original: finite differences, 10 updates, 1,000 images an evaluation
//   ours       CMA-ES over smooth schedules with common random numbers, a tenth of the baseline's images
//
// Start, MaskGIT's cosine and both results are then measured on the same blocks of noise, which no search saw; differences
// are taken block by block. The noise of the objective is the deviation of the start's value over blocks of 1,000 images.
//
//   node bench/search-experiment.mjs --reference IMAGES [--model FOLDER] [--out FOLDER] [--workers N] [--seeds 0,1,2]
//     [--steps 4,8] [--shrink K]      K divides every number of images: a smoke test, not a result
//
// Resumable: the same command goes on. Writes OUT/experiment.md and OUT/experiment.json.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cosineStrategy, parseStrategy } from '@tessera/schedule';
import { openObjective, search } from 'tessera';
import { parse as parseYaml } from 'yaml';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../packages/models-emoji/emoji-32', import.meta.url)) },
    reference: { type: 'string' },
    out: { type: 'string', default: 'runs/search-experiment' },
    workers: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '0,1,2' },
    steps: { type: 'string', default: '4,8' },
    shrink: { type: 'string', default: '1' },
  },
});
if (values.reference === undefined || !existsSync(values.reference)) {
  process.stderr.write('search-experiment: expected --reference, a folder of real images.\n');
  process.exit(1);
}
const { model, reference, out } = values;
const shrink = Number(values.shrink);
const numbers = (text) => text.split(',').map(Number);
const images = (count) => Math.max(2, Math.round(count / shrink));

/** Fixed before anything was run. */
const OBJECTIVE = 'fd-local';
const BASELINE = { updates: 10, numImages: 1000 };
const SHARE = 0.1;
const OURS_IMAGES = 500;
const HELD_OUT = { blocks: 8, numImages: 5000, firstBlock: 2 ** 18 };
/** Of Student's t for 7 degrees of freedom, two-sided 95 %. */
const T_95 = 2.365;

mkdirSync(out, { recursive: true });
const path = join(out, 'experiment.json');
const measured = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
const rows = [];
for (const numSteps of numbers(values.steps)) {
  for (const seed of numbers(values.seeds)) rows.push(...(await runOne(numSteps, seed)));
}
writeFileSync(join(out, 'experiment.md'), table(rows));
process.stdout.write(table(rows));

async function runOne(numSteps, seed) {
  const perUpdate = 4 * numSteps - 1;
  const baselineImages = (1 + BASELINE.updates * perUpdate) * images(BASELINE.numImages);
  const common = { model, reference, objective: OBJECTIVE, numSteps, seed, start: 'autonat-initial', confirmBlocks: 0 };
  const name = (what) => join(out, `T${numSteps}-seed${seed}-${what}`);
  const workers = Number(values.workers);
  const baseline = await finished({
    ...common,
    workers,
    out: name('baseline'),
    method: 'finite-difference',
    maxUpdates: BASELINE.updates,
    numImages: images(BASELINE.numImages),
    budget: { images: baselineImages },
  });
  const ours = await finished({
    ...common,
    workers,
    out: name('ours'),
    method: 'cma-es',
    parametrisation: 'smooth',
    numImages: images(OURS_IMAGES),
    budget: { images: Math.floor(SHARE * baselineImages) },
  });
  const own = parseStrategy(parseYaml(readFileSync(join(model, 'strategy.yaml'), 'utf8')));
  const guidanceScale = Math.max(...own.steps.map((step) => step.guidanceScale));
  const candidates = {
    start: { settings: await startOf(numSteps), images: 0 },
    cosine: { settings: cosineStrategy({ numSteps }), images: 0 },
    [`cosine, s = ${guidanceScale.toPrecision(3)}`]: {
      settings: cosineStrategy({ numSteps, guidanceScale }),
      images: 0,
    },
    baseline: { settings: strategyIn(name('baseline')), images: baseline.images },
    ours: { settings: strategyIn(name('ours')), images: ours.images },
  };
  const values_ = {};
  for (const [what, { settings }] of Object.entries(candidates)) {
    values_[what] = await onHeldOut(
      `T${numSteps} seed${seed} ${what}`,
      seed,
      settings,
      HELD_OUT.numImages,
      HELD_OUT.blocks,
    );
  }
  const noise = await onHeldOut(
    `T${numSteps} seed${seed} noise`,
    seed,
    candidates.start.settings,
    BASELINE.numImages,
    HELD_OUT.blocks,
  );
  return Object.entries(candidates).map(([what, { images: spent }]) => ({
    ...{ numSteps, seed, what, spent },
    value: interval(values_[what]),
    againstStart: interval(values_[what].map((value, i) => value - values_.start[i])),
    againstBaseline: interval(values_[what].map((value, i) => value - values_.baseline[i])),
    noise: what === 'start' ? deviation(noise) : undefined,
  }));
}

async function startOf(numSteps) {
  const { autonatInitialStrategy } = await import('@tessera/schedule');
  return autonatInitialStrategy(numSteps);
}

async function finished(options) {
  let result;
  for await (const event of search(options)) {
    if (event.kind === 'stage') process.stderr.write(`${options.out}: ${event.message}\n`);
    if (event.kind === 'result') ({ result } = event);
  }
  return result;
}

function strategyIn(folder) {
  return parseStrategy(parseYaml(readFileSync(join(folder, 'strategy.yaml'), 'utf8')));
}

/** One value a block; what is in experiment.json is not measured again. */
async function onHeldOut(key, seed, settings, numImages, blocks) {
  const hash = JSON.stringify([settings.steps, images(numImages)]);
  if (measured[key]?.hash === hash) return measured[key].values;
  const { objective, dispose } = await openObjective({
    ...{ model, reference, seed },
    terms: [{ kind: OBJECTIVE, weight: 1 }],
  });
  const list = [];
  for (let block = 0; block < blocks; block++) {
    const at = { numImages: images(numImages), seedBlock: HELD_OUT.firstBlock + block };
    list.push((await objective.evaluate(settings, at)).value);
  }
  dispose();
  process.stderr.write(`${key}: ${list.map((value) => value.toPrecision(5)).join(' ')}\n`);
  measured[key] = { hash, values: list };
  writeFileSync(path, `${JSON.stringify(measured, undefined, 2)}\n`);
  return list;
}

function deviation(list) {
  const mean = list.reduce((sum, x) => sum + x, 0) / list.length;
  return Math.sqrt(list.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (list.length - 1));
}

function interval(list) {
  const mean = list.reduce((sum, x) => sum + x, 0) / list.length;
  const half = (T_95 * deviation(list)) / Math.sqrt(list.length);
  return `${mean.toPrecision(4)} ± ${half.toPrecision(2)}`;
}

function table(all) {
  const header = [
    'T',
    'seed',
    'strategy',
    'images of the search',
    `${OBJECTIVE} (95 %)`,
    'minus start',
    'minus baseline',
    'noise (sd)',
  ];
  const lines = all.map(({ numSteps, seed, what, spent, value, againstStart, againstBaseline, noise }) =>
    [numSteps, seed, what, spent, value, againstStart, againstBaseline, noise?.toPrecision(2) ?? ''].join(' | '),
  );
  const warning = shrink === 1 ? '' : `\nImages divided by ${shrink}: a smoke test, not a result.\n`;
  return `| ${header.join(' | ')} |\n|${header.map(() => ' --- |').join('')}\n${lines.map((line) => `| ${line} |`).join('\n')}\n${warning}`;
}
