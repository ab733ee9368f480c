// Does the local extractor put worse pictures further away? Two halves of a data set are compared, one of them worse and worse:
//
//   node packages/models-emoji/validate-local-extractor.mjs [FOLDER …]
//
// Prints the tables of docs/evaluation.md, and fails when a distance does not grow with the strength. Without folders: the
// emoji that it was trained on; others are folders of class folders, resized to 64 px.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Draws } from '@tessera/schedule';
import { cat, conv2d, fromTypedArray, loadSafetensors, noGrad, scope, setNumThreads, tensor } from '@tessera/torch';
import {
  frechetDistance,
  kernelDistance,
  loadImages,
  loadLocalExtractor,
  scanImageFolder,
  statisticsOf,
} from 'tessera';
import { drawFormula, formulaKinds } from './formula-pictures.mjs';

const SIDE = 64;
const MOST = 800;
const here = fileURLToPath(new URL('.', import.meta.url));
const folders = process.argv.length > 2 ? process.argv.slice(2) : [join(here, '../../runs/emoji-64-images/train')];
setNumThreads(1);
const weights = join(here, 'local-extractor/model.safetensors');
const model = scope(() => loadLocalExtractor(loadSafetensors(weights).tensors, weights));
let failures = 0;

for (const folder of folders) {
  const { items } = await scanImageFolder(folder);
  const stride = Math.max(1, Math.floor(items.length / (2 * MOST)));
  const chosen = items.filter((_, i) => i % stride === 0).slice(0, 2 * MOST);
  const half = (parity) =>
    loadImages(
      chosen.filter((_, i) => i % 2 === parity),
      SIDE,
    );
  const [reference, samples] = [await half(0), await half(1)];
  const count = samples.labels.length;
  console.log(`\n${items.length} pictures, ${reference.labels.length} as reference, ${count} as samples\n`);
  console.log('| corruption | strength | FD-local | KID-local |\n| --- | --- | --: | --: |');
  const target = features(reference.pixels);
  const own = features(samples.pixels);
  /** Means over several versions of the samples. */
  const measured = (name, strength, ...versions) => {
    const mean = (metric) => versions.reduce((sum, x) => sum + metric(x), 0) / versions.length;
    const distance = mean((x) => scope(() => frechetDistance(statisticsOf(x), statisticsOf(target))));
    const kernel = mean((x) => kernelDistance(x, target, { subsets: 20, subsetSize: 200 }).mean);
    console.log(`| ${name} | ${strength} | ${distance.toFixed(3)} | ${kernel.toFixed(4)} |`);
    return { distance, kernel };
  };
  const plain = measured('none', '', own);
  const series = (name, strengths, make) => {
    let [last, wasKernel] = [plain.distance, plain.kernel];
    for (const strength of strengths) {
      const { distance, kernel } = measured(name, strength, ...[make(strength)].flat());
      // Fewer samples leave KID where it was: its expectation does not depend on their number.
      if (distance <= last || (name !== 'fewer samples' && kernel <= wasKernel)) {
        failures += 1;
        console.log(`not larger than before: ${name} ${strength}`);
      }
      [last, wasKernel] = [distance, kernel];
    }
  };
  series('blur, deviation in px', [0.5, 1, 1.5, 2, 3], (sigma) => features(samples.pixels, (x) => blurred(x, sigma)));
  series('noise, deviation', [0.02, 0.05, 0.1, 0.2, 0.4], (deviation) =>
    features(samples.pixels, (x) => x.add(x.randnLike().mul(deviation)).clamp(0, 1)),
  );
  const classes = new Set(samples.labels).size;
  // Which classes stay matters as much as how many: five choices of them.
  series('dropped classes', [0.2, 0.4, 0.6, 0.8], (share) =>
    Array.from({ length: 5 }, (_, turn) => {
      const first = Math.floor((turn * classes) / 5);
      const stays = (label) => (label + first) % classes >= share * classes;
      const rows = [...samples.labels.keys()].filter((i) => stays(samples.labels[i]));
      return own.indexSelect(0, tensor(rows, 'int64'));
    }),
  );
  series('pictures of another kind', [0.1, 0.25, 0.5, 1], (share) => {
    const mixed = samples.pixels.slice();
    for (let i = 0; i < count * share; i++) {
      const draws = new Draws(5, 0, i, 4);
      const place = mixed.subarray(i * SIDE * SIDE * 3, (i + 1) * SIDE * SIDE * 3);
      drawFormula(i % formulaKinds.length, SIDE, () => draws.uniform(), place);
    }
    return features(mixed);
  });
  series('fewer samples', [0.75, 0.5, 0.25], (share) => {
    const rows = [...samples.labels.keys()].filter((i) => (i * 7919) % count < share * count);
    return own.indexSelect(0, tensor(rows, 'int64'));
  });
}
if (failures > 0) process.exitCode = 1;

function features(pixels, change = (x) => x) {
  const bytes = SIDE * SIDE * 3;
  const total = pixels.length / bytes;
  return scope(() => {
    const parts = [];
    for (let start = 0; start < total; start += 64) {
      const count = Math.min(64, total - start);
      parts.push(
        noGrad(() =>
          scope(() => {
            const block = fromTypedArray(pixels.slice(start * bytes, (start + count) * bytes), [count, SIDE, SIDE, 3]);
            const images = block.permute([0, 3, 1, 2]).contiguous().to('float32').div(255);
            return model.features(change(images));
          }),
        ),
      );
    }
    return cat(parts);
  });
}

function blurred(images, sigma) {
  const reach = Math.ceil(3 * sigma);
  const taps = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)));
  const sum = taps.reduce((a, b) => a + b);
  const kernel = tensor(taps.map((t) => t / sum));
  const [count] = images.shape;
  // The border's colour goes on outside, or the edge would darken.
  const planes = replicationPad(images.reshape([count * 3, 1, SIDE, SIDE]), reach);
  const across = conv2d(planes, kernel.view([1, 1, 1, -1]));
  return conv2d(across, kernel.view([1, 1, -1, 1])).reshape([count, 3, SIDE, SIDE]);
}

function replicationPad(x, reach) {
  const edge = (y, axis, index) => y.narrow(axis, index, 1);
  const along = (y, axis) => {
    const [first, last] = [edge(y, axis, 0), edge(y, axis, y.size(axis) - 1)];
    return cat([...Array(reach).fill(first), y, ...Array(reach).fill(last)], axis);
  };
  return along(along(x, 2), 3);
}
