// Does the encoder wait? `tessera tokenize` over JPEG files of ImageNet's usual size against the same encoder on the same
// batches of pixels that are in memory already. Both in one run, turn by turn, so that other load falls on both alike.
// Weights are random: neither rate depends on their values. Rates count images between the first batch and the last,
// which leaves out listing, loading and the start of threads (a million images make nothing of them).

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { manualSeed, saveSafetensors, scope, setNumThreads } from '@tessera/torch';
import { encodePictures, initialise, TOKENIZERS, tokenize, tokenizerPresets } from 'tessera';
import { summary } from './measure.mjs';

const SIZE = 256;
/** Of one round; the first batch is not counted. */
const BATCHES = 6;

/** @param {{json: boolean, rounds: number, threads: number, model?: string}} options `model`: a tokenizer by name */
export async function bench({ json, rounds, threads, model = 'maskgit-vqgan' }) {
  setNumThreads(threads);
  const folder = mkdtempSync(join(tmpdir(), 'tessera-bench-tokenize-'));
  try {
    const { family, config } = tokenizerPresets().get(model);
    manualSeed(1);
    const tokenizer = initialise((p) => TOKENIZERS[family].construct(config, p));
    const weights = join(folder, 'weights.safetensors');
    saveSafetensors(weights, [...tokenizer.state]);
    const batch = 8;
    const images = await writeImages(join(folder, 'images'), batch * BATCHES);
    const alone = [];
    const whole = [];
    for (let round = 0; round < rounds; round++) {
      if (!json) process.stderr.write(`round ${round + 1} of ${rounds}\n`);
      alone.push(encoderRate(tokenizer, batch));
      whole.push(await wholeRate(join(folder, 'images'), join(folder, `out-${round}`), model, weights, batch));
    }
    const ratios = whole.map((rate, i) => rate / alone[i]);
    const result = {
      tokenizer: model,
      size: SIZE,
      images,
      threads,
      encoderAlone: summary(alone),
      endToEnd: summary(whole),
      ratio: summary(ratios),
    };
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else print(result);
    tokenizer.dispose();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Images a second of the encoder on pixels in memory. */
function encoderRate(tokenizer, batch) {
  const pixels = Uint8Array.from({ length: batch * SIZE * SIZE * 3 }, (_, i) => (i * 31) % 251);
  const once = () => scope(() => encodePictures(tokenizer, pixels, SIZE));
  once();
  const began = performance.now();
  for (let i = 1; i < BATCHES; i++) once();
  return (batch * (BATCHES - 1)) / ((performance.now() - began) / 1000);
}

/** Images a second of the whole command, from the end of the first batch to the end of the last. */
async function wholeRate(images, out, tokenizer, tokenizerWeights, batch) {
  let first;
  let last;
  for await (const event of tokenize({ images, out, tokenizer, tokenizerWeights, size: SIZE, batch })) {
    if (event.kind !== 'progress' || event.stage !== 'tokens') continue;
    last = { done: event.done, time: performance.now() };
    first ??= last;
  }
  return (last.done - first.done) / ((last.time - first.time) / 1000);
}

/** Pictures with detail at every scale, 500×375 JPEG at quality 95: about as long to decode as photographs. */
async function writeImages(root, count) {
  const { default: sharp } = await import('sharp');
  const [width, height] = [500, 375];
  mkdirSync(join(root, 'a'), { recursive: true });
  for (let n = 0; n < count; n++) {
    const data = Buffer.alloc(width * height * 3);
    for (let i = 0; i < data.length; i++) {
      const x = Math.floor(i / 3) % width;
      const y = Math.floor(i / 3 / width);
      data[i] = (128 + 60 * Math.sin((x * (n + 3)) / 90) + 40 * Math.cos(y / 17) + ((i * 2654435761) >>> 28)) & 255;
    }
    const jpeg = sharp(data, { raw: { width, height, channels: 3 } }).jpeg({ quality: 95 });
    writeFileSync(join(root, 'a', `${n}.jpg`), await jpeg.toBuffer());
  }
  return count;
}

function print({ tokenizer, size, threads, encoderAlone, endToEnd, ratio }) {
  const text = ({ median, low, high }) => `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;
  process.stdout.write(
    `${tokenizer}, ${size} px, ${threads} threads, images/s: encoder alone ${text(encoderAlone)}, ` +
      `end to end ${text(endToEnd)}, ratio ${text(ratio)}\n`,
  );
}
