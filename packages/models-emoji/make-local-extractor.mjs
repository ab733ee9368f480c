// Trains the local extractor (FD-local, KID-local) and stores it:
//
//   node packages/models-emoji/make-local-extractor.mjs [STEPS]
//
// Half of each batch are emoji at 64 px, half are pictures drawn by formulas. A random half of them is blurred or gets noise,
// and the network tells the kind of picture (cross entropy), and how strong blur and noise are (squared error). One thread;
// the order and the corruptions follow from the step. About 7 minutes of one core for 1500 steps.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Draws } from '@tessera/schedule';
import {
  cat,
  conv2d,
  crossEntropyLoss,
  fromTypedArray,
  manualSeed,
  saveSafetensors,
  scope,
  setNumThreads,
  tensor,
} from '@tessera/torch';
import { AdamW, initialise, LocalExtractor, loadImages, openImageFolder, renderEmoji } from 'tessera';
import { drawFormula, formulaKinds } from './formula-pictures.mjs';

const STEPS = Number(process.argv[2] ?? 1500);
const BATCH = 32;
const SIDE = 64;
const RATE = 2e-3;
const here = fileURLToPath(new URL('.', import.meta.url));
const folder = join(here, '../../runs/emoji-64-images');

setNumThreads(1);
await renderEmoji({ out: folder, size: SIDE });
const { classes, train, heldOut } = await openImageFolder(folder);
const emoji = await loadImages(train, SIDE);
const test = await loadImages(heldOut, SIDE);
const numKinds = classes.length + formulaKinds.length;

manualSeed(7);
const model = initialise((p) => new LocalExtractor(p, numKinds + 2));
model.trainable();
const optimizer = new AdamW(model.parameters, { weightDecay: 0.02 });
const bytes = SIDE * SIDE * 3;
const started = process.cpuUsage();

for (let step = 0; step < STEPS; step++) {
  const draws = new Draws(1, step, 0, 4);
  const { pixels, labels } = batchOf(draws);
  const rate = RATE * Math.min(1, (step + 1) / 50) * 0.5 * (1 + Math.cos((Math.PI * step) / STEPS));
  const shown = scope(() => {
    const { images, strengths } = corrupted(pixels, draws);
    const outputs = model.outputs(model.forward(images, true));
    const kind = crossEntropyLoss(outputs.narrow(1, 0, numKinds), tensor(labels, 'int64'));
    const strength = outputs.narrow(1, numKinds, 2).sub(strengths).square().mean();
    model.clearGradients();
    kind.add(strength.mul(4)).backward();
    optimizer.step(rate);
    return [kind.item(), strength.item()];
  });
  if (step % 100 === 99) {
    const { user, system } = process.cpuUsage(started);
    console.log(step + 1, shown.map((x) => x.toFixed(4)).join(' '), `${((user + system) / 1e6).toFixed(0)} s`);
  }
}
model.trainable(false);
console.log(
  `held-out emoji: ${(100 * accuracy()).toFixed(1)} % of ${test.labels.length} told right among ${numKinds} kinds`,
);

const target = join(here, 'local-extractor');
mkdirSync(target, { recursive: true });
scope(() =>
  saveSafetensors(
    join(target, 'model.safetensors'),
    [...model.state].map(([name, value]) => [name, value.detach()]),
  ),
);

/** Emoji in the first half, formulas in the second: [BATCH, 64, 64, 3] bytes. */
function batchOf(draws) {
  const block = new Uint8Array(BATCH * bytes);
  const labels = Array.from({ length: BATCH }, (_, i) => {
    const place = block.subarray(i * bytes, (i + 1) * bytes);
    if (i < BATCH / 2) {
      const index = draws.integer(emoji.labels.length);
      place.set(emoji.pixels.subarray(index * bytes, (index + 1) * bytes));
      return emoji.labels[index];
    }
    const kind = draws.integer(formulaKinds.length);
    drawFormula(kind, SIDE, () => draws.uniform(), place);
    return classes.length + kind;
  });
  return { pixels: block, labels };
}

/** Every other picture blurred, and of each pair of pairs noise; strengths [BATCH, 2] in about [0, 1]. */
function corrupted(pixels, draws) {
  const clean = fromTypedArray(pixels, [BATCH, SIDE, SIDE, 3])
    .permute([0, 3, 1, 2])
    .contiguous()
    .to('float32')
    .div(255);
  const strengths = [];
  const parts = Array.from({ length: BATCH }, (_, i) => {
    let image = clean.narrow(0, i, 1);
    const blur = i % 2 === 1 ? draws.uniform() : 0;
    const noise = i % 4 > 1 ? draws.uniform() : 0;
    if (blur > 0) image = blurred(image, 0.3 + 2.5 * blur);
    if (noise > 0) image = image.add(image.mul(0).normal_(0, 0.3 * noise));
    strengths.push([blur, noise]);
    return image.clamp(0, 1);
  });
  return { images: cat(parts), strengths: tensor(strengths) };
}

function blurred(image, sigma) {
  const reach = Math.ceil(2.5 * sigma);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)));
  const sum = weights.reduce((a, b) => a + b);
  const kernel = tensor(weights.map((w) => w / sum));
  const planes = image.permute([1, 0, 2, 3]); // [3, 1, Y, X]
  const across = conv2d(planes, kernel.view([1, 1, 1, -1]), undefined, [1, 1], [0, reach]);
  return conv2d(across, kernel.view([1, 1, -1, 1]), undefined, [1, 1], [reach, 0]).permute([1, 0, 2, 3]);
}

function accuracy() {
  let right = 0;
  for (let start = 0; start < test.labels.length; start += 64) {
    const count = Math.min(64, test.labels.length - start);
    right += scope(() => {
      const images = fromTypedArray(test.pixels.slice(start * bytes, (start + count) * bytes), [count, SIDE, SIDE, 3]);
      const told = model.outputs(model.features(images)).narrow(1, 0, numKinds).argmax(1);
      return told
        .eq(tensor([...test.labels.subarray(start, start + count)], 'int64'))
        .sum()
        .item();
    });
  }
  return right / test.labels.length;
}
