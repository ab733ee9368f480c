// `npm run bench -- vq-recipe --images FOLDER`: which recipe trains the tokenizer of `fit` best in a small budget. Each recipe
// trains vq-small at 32 px from the same first weights for the same processor time (steps are planned from a few measured
// ones, as fit does; processor time, so that what else the machine does counts little), then the averaged weights give back
// the held-out images. Reported:
//
//   PSNR      mean over images, in dB: high is good, and favours blur
//   patches   sliced Wasserstein distance between 7×7 patches, means removed, of the held-out images and of their
//             reconstructions, in grey levels: low is good, and punishes blur. 128 random directions; not FID
//
//   --images FOLDER  default: the emoji set, rendered to a temporary folder
//   --seconds N      processor seconds a recipe (default 90)

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromTypedArray, linalgVectorNorm, manualSeed, noGrad, randn, scope, setNumThreads } from '@tessera/torch';
import { createVqTask, loadFitImages, openRun, renderEmoji, resolveTrainingConfig, trainLoop, vqPreset } from 'tessera';
import { describeMachine, machine } from './machine.mjs';

const SIZE = 32;
const BATCH = 16;
const SEED = 0;
/** Steps that are measured, after one that is not. */
const MEASURED = 6;
/** Share of the steps before the discriminator joins, and after which revived codes settle. */
const [START, SETTLE] = [0.5, 0.8];

const fitRecipe = (steps) => ({ horizontalFlip: true, reviveUntil: Math.floor(steps * SETTLE) });
const RECIPES = {
  'L2 alone': (steps) => ({ ...fitRecipe(steps), l1Weight: 0, reviveEvery: 0 }),
  'L2, 0.1 L1, revival (fit)': fitRecipe,
  'the same, PatchGAN in the second half': (steps) => ({
    ...fitRecipe(steps),
    discriminator: { kind: 'patchgan', baseChannels: 16, numLayers: 2 },
    discriminatorStart: Math.ceil(steps * START),
    discriminatorLearningRate: { kind: 'constant', base: 2e-4 },
    adversarialWeight: 0.1,
  }),
};

export async function bench({ json, images: path, seconds, threads }) {
  setNumThreads(threads);
  const about = machine();
  const home = mkdtempSync(join(tmpdir(), 'tessera-vq-recipe-'));
  try {
    const images = await load(path ?? (await emoji(home)));
    const rows = [];
    for (const [name, recipe] of Object.entries(RECIPES)) rows.push(await compare(home, images, name, recipe, seconds));
    if (json) process.stdout.write(`${JSON.stringify({ bench: 'vq-recipe', machine: about, rows }, undefined, 2)}\n`);
    else process.stdout.write(`${describeMachine(about)}\n\n${table(rows)}\n`);
  } finally {
    rmSync(home, { recursive: true });
  }
}

async function emoji(home) {
  const out = join(home, 'emoji');
  await renderEmoji({ out, size: SIZE });
  return out;
}

async function load(path) {
  const loading = loadFitImages(path, { size: SIZE, seed: SEED, signal: undefined });
  for (;;) {
    const { done, value } = await loading.next();
    if (done) return { train: await value.train.block(value.train.numImages), heldOut: value.measured };
  }
}

async function compare(home, images, name, recipe, seconds) {
  const far = 1_000_000;
  const before = await secondsPerStep(home, images, { ...recipe(far), discriminatorStart: far });
  const after = await secondsPerStep(home, images, { ...recipe(far), discriminatorStart: 0 });
  const steps = Math.max(2, Math.floor(seconds / (START * before + (1 - START) * after)));
  const { task, used } = await train(home, images, recipe(steps), steps);
  const { psnr, codebookUsage } = noGrad(() => scope(() => task.evaluate()));
  const patches = patchDistance(task.ema, images.heldOut);
  task.dispose();
  process.stderr.write(`${name}: ${steps} steps, ${psnr.toFixed(2)} dB, ${patches.toFixed(3)}\n`);
  return { name, steps, seconds: used, psnr, patches, codebookUsage };
}

async function secondsPerStep(home, images, recipe) {
  const { task, used } = await train(home, images, recipe, MEASURED + 1);
  task.dispose();
  return used / MEASURED;
}

/** Processor seconds are those of all steps but the first. */
async function train(home, images, recipe, totalSteps) {
  const run = openRun(mkdtempSync(join(home, 'run-')), {});
  const of = ({ pixels }) => ({ pixels, height: SIZE, width: SIZE });
  const config = vqPreset('vq-small');
  const task = createVqTask({ config, recipe, images: of(images.train), heldOut: of(images.heldOut), seed: SEED });
  const { evaluate: _, ...trained } = task;
  const training = resolveTrainingConfig({
    seed: SEED,
    globalBatch: BATCH,
    totalSteps,
    learningRate: {
      kind: 'cosine',
      base: 1e-3,
      warmupSteps: Math.min(100, Math.ceil(totalSteps / 20)),
      totalSteps,
      floorFraction: 0.02,
    },
    betas: [0.9, 0.99],
    clip: 1,
    ema: { decay: 0.998 },
    checkpointEvery: totalSteps,
  });
  let [began, ended] = [0, 0];
  for await (const { kind, step } of trainLoop(trained, training, run)) {
    if (kind !== 'step') continue;
    ended = processorSeconds();
    if (step === 1) began = ended;
  }
  run.close();
  return { task, used: ended - began };
}

function processorSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const PATCH = 7;
const DIRECTIONS = 128;

/** Mean over random directions of the distance between the sorted projections of two sets of patches, in grey levels. */
function patchDistance(tokenizer, { pixels }) {
  return noGrad(() =>
    scope(() => {
      const count = Math.min(256, pixels.length / (SIZE * SIZE * 3));
      const slice = pixels.subarray(0, count * SIZE * SIZE * 3);
      const real = fromTypedArray(slice, [count, SIZE, SIZE, 3])
        .permute([0, 3, 1, 2])
        .contiguous()
        .to('float32')
        .div(255);
      manualSeed(SEED);
      const directions = randn([3 * PATCH * PATCH, DIRECTIONS]);
      const unit = directions.div(linalgVectorNorm(directions, 2, [0], true));
      const sorted = (images) => patchesOf(images).matmul(unit).sort({ dim: 0 })[0]; // [patches, directions]
      return (
        sorted(real)
          .sub(sorted(tokenizer.reconstruct(real)))
          .abs()
          .mean()
          .item() * 255
      );
    }),
  );
}

/** Every third patch of images [N, 3, Y, X], each less its mean: [patches, 3·7·7]. */
function patchesOf(images) {
  const cut = images.unfold(2, PATCH, 3).unfold(3, PATCH, 3); // [N, 3, y, x, 7, 7]
  const rows = cut.permute([0, 2, 3, 1, 4, 5]).reshape([-1, 3 * PATCH * PATCH]);
  return rows.sub(rows.mean([1], true));
}

function table(rows) {
  const header = ['recipe', 'steps', 'seconds', 'PSNR', 'patches', 'codes in use'];
  const cells = rows.map(({ name, steps, seconds, psnr, patches, codebookUsage }) => [
    name,
    String(steps),
    seconds.toFixed(0),
    psnr.toFixed(2),
    patches.toFixed(3),
    `${Math.round(100 * codebookUsage)} %`,
  ]);
  const widths = header.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(header), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...cells.map(line)].join('\n');
}
