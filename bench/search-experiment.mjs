// The experiment of docs/experiments.md: does searching a schedule pay, and what does it cost? On a model folder (emoji-32
// unless told otherwise), for T = 4 and 8 and three seeds:
//
//   baseline   the original: finite differences, 10 updates, 1,000 images an evaluation, fresh noise each
//   ours       over smooth schedules with common random numbers, a tenth of the baseline's images
//
// docs/experiments.md also has an earlier search of ours ("ours, first"), whose method is no longer in the code.
//
// Start, MaskGIT's cosine and all results are then measured on the same blocks of noise, which no search saw; differences
// are taken block by block. The noise of the objective is the deviation of the start's value over blocks of 1,000 images.
//
//   node bench/search-experiment.mjs --reference IMAGES [--model FOLDER] [--out FOLDER] [--workers N] [--seeds 0,1,2]
//     [--steps 4,8] [--only PART,PART] [--shrink K]
//
// --shrink divides every number of images: a smoke test, not a result. Resumable: the same command goes on; a seed is
// whole before the next begins. Writes OUT/experiment.json; bench/search-experiment-report.mjs makes table and plot of it.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { autonatInitialStrategy, cosineStrategy, parseStrategy } from '@tessera/schedule';
import { ProcessEvaluators, search } from 'tessera';
import { parse as parseYaml } from 'yaml';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../packages/models-emoji/emoji-32', import.meta.url)) },
    reference: { type: 'string' },
    out: { type: 'string', default: 'runs/search-experiment' },
    workers: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '0,1,2' },
    steps: { type: 'string', default: '4,8' },
    only: { type: 'string' },
    shrink: { type: 'string', default: '1' },
  },
});
if (values.reference === undefined || !existsSync(values.reference)) {
  process.stderr.write('search-experiment: expected --reference, a folder of real images.\n');
  process.exit(1);
}
const { model, reference, out } = values;
const workers = Number(values.workers);
const shrink = Number(values.shrink);
const numbers = (text) => text.split(',').map(Number);
const images = (count) => Math.max(2, Math.round(count / shrink));

// Fixed before anything was run: the objective, the baseline, the share, and the held-out blocks, the same for all seeds, so
// that start and cosine are measured once.
const OBJECTIVE = 'fd-local';
const BASELINE = { updates: 10, numImages: 1000 };
const SHARE = 0.1;
const HELD_OUT = { seed: 1000, blocks: 8, numImages: 2000 };
// Chosen on noisy quadratics and one pilot with seed 100, which is none of the experiment's (docs/experiments.md).
const OURS = { method: 'trust-region', numImages: 500 };

const PARTS = { ours, 'held-out ours': heldOutOurs, baseline, 'held-out baseline': heldOutBaseline };
const parts = values.only?.split(',') ?? Object.keys(PARTS);
const strange = parts.find((part) => !Object.hasOwn(PARTS, part));
if (strange !== undefined) {
  process.stderr.write(`search-experiment: expected parts of ${Object.keys(PARTS).join(', ')}, got "${strange}".\n`);
  process.exit(1);
}
mkdirSync(out, { recursive: true });
const path = join(out, 'experiment.json');
for (const numSteps of numbers(values.steps)) {
  for (const seed of numbers(values.seeds)) {
    for (const part of parts) await PARTS[part](numSteps, seed);
  }
}

function folder(numSteps, seed, what) {
  return join(out, `T${numSteps}-seed${seed}-${what}`);
}

function baselineImages(numSteps) {
  return (1 + BASELINE.updates * (4 * numSteps - 1)) * images(BASELINE.numImages);
}

function common(numSteps, seed) {
  return {
    model,
    reference,
    objective: OBJECTIVE,
    numSteps,
    seed,
    start: 'autonat-initial',
    confirmBlocks: 0,
    workers,
  };
}

async function baseline(numSteps, seed) {
  await finished({
    ...common(numSteps, seed),
    out: folder(numSteps, seed, 'baseline'),
    method: 'finite-difference',
    maxUpdates: BASELINE.updates,
    numImages: images(BASELINE.numImages),
    budget: { images: baselineImages(numSteps) },
  });
}

async function ours(numSteps, seed) {
  await finished({
    ...common(numSteps, seed),
    ...OURS,
    out: folder(numSteps, seed, 'ours'),
    parametrisation: 'smooth',
    numImages: images(OURS.numImages),
    budget: { images: Math.floor(SHARE * baselineImages(numSteps)) },
  });
}

/** Start and cosine are the same for all seeds. */
async function heldOutOurs(numSteps, seed) {
  const own = parseStrategy(parseYaml(readFileSync(join(model, 'strategy.yaml'), 'utf8')));
  const guidanceScale = Math.max(...own.steps.map((step) => step.guidanceScale));
  const start = autonatInitialStrategy(numSteps);
  await measure(`T${numSteps} start`, start);
  await measure(`T${numSteps} seed${seed} ours`, resultIn(folder(numSteps, seed, 'ours')));
  await measure(`T${numSteps} cosine`, cosineStrategy({ numSteps }));
  await measure(`T${numSteps} cosine, guided`, cosineStrategy({ numSteps, guidanceScale }));
  await measure(`T${numSteps} noise`, start, BASELINE.numImages);
}

/** The original logs the best value and leaves every base point: both its best evaluation and its last point are measured. */
async function heldOutBaseline(numSteps, seed) {
  const best = resultIn(folder(numSteps, seed, 'baseline'));
  await measure(`T${numSteps} seed${seed} baseline, best`, best);
  await measure(`T${numSteps} seed${seed} baseline, last`, lastPoint(numSteps, seed, best));
}

function resultIn(path) {
  return parseStrategy(parseYaml(readFileSync(join(path, 'strategy.yaml'), 'utf8')));
}

/** The last base point of finite differences, in the frame of its result. */
function lastPoint(numSteps, seed, frame) {
  const file = join(folder(numSteps, seed, 'baseline'), 'searched_strategies', `stp_${BASELINE.updates}.yaml`);
  const lists = parseYaml(readFileSync(file, 'utf8'));
  const steps = lists.manual_samp_temp.map((sampleTemperature, i) => ({
    maskRatio: lists.manual_ratios[i] ?? 0,
    sampleTemperature,
    choiceTemperature: lists.manual_temp[i] ?? 0,
    guidanceScale: 1 + lists.manual_cfg[i],
  }));
  return parseStrategy({ ...frame, provenance: undefined, steps });
}

/** One value a block; what is in experiment.json is not measured again. */
async function measure(key, settings, numImages = HELD_OUT.numImages) {
  const measured = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  const { provenance: _, ...drawn } = settings;
  const hash = JSON.stringify([drawn, images(numImages), model, reference]);
  if (measured[key]?.hash === hash) return;
  const description = { model, reference, seed: HELD_OUT.seed, terms: [{ kind: OBJECTIVE, weight: 1 }] };
  const evaluators = new ProcessEvaluators(description, { count: workers, threads: 1 });
  const jobs = Array.from({ length: HELD_OUT.blocks }, (_, index) => ({
    ...{ index, settings, numImages: images(numImages), seedBlock: index },
  }));
  const blocks = [];
  for await (const { index, value } of evaluators.evaluate(() => jobs.shift())) blocks[index] = value;
  evaluators.dispose();
  process.stderr.write(`${key}: ${blocks.map((value) => value.toPrecision(5)).join(' ')}\n`);
  writeFileSync(
    `${path}.writing`,
    `${JSON.stringify({ ...measured, [key]: { hash, values: blocks } }, undefined, 2)}\n`,
  );
  renameSync(`${path}.writing`, path);
}

async function finished(options) {
  for await (const event of search(options)) {
    if (event.kind === 'stage') process.stderr.write(`${options.out}: ${event.message}\n`);
  }
}
