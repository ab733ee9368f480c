// `npm run bench -- tokenize`: encoder and decoder alone, ours against the plain order of the reference code on the same
// engine, in the same rounds: no scopes inside, x · sigmoid(x) as two operations, every result in fresh memory, default
// memory format. Weights are random, of the published sizes; pictures of 256 px. Taken is the processor time of this
// process, not the clock's: cases alternate call by call, and of all rounds the shortest counts, so that other work on
// the machine falls on both alike, or on none.

import {
  avgPool2d,
  conv2d,
  groupNorm,
  manualSeed,
  noGrad,
  rand,
  scope,
  setNumThreads,
  upsampleNearest2d,
} from '@tessera/torch';
import { initialise, LlamaGenVq, MaskgitVqgan, maskgitPreset, vqPreset } from 'tessera';
import { machine } from './machine.mjs';

const SIZE = 256;

export async function bench({ json, rounds, threads, model: only }) {
  setNumThreads(threads);
  manualSeed(1);
  const rows = [];
  for (const [name, make] of Object.entries(MODELS)) {
    if (only !== undefined && only !== name) continue;
    const model = make();
    const images = noGrad(() => rand([1, 3, SIZE, SIZE]));
    const codes = noGrad(() => scope(() => model.quantize(model.encodeToLatent(images)).quantized.clone()));
    const plain = PLAIN[name](model.state, model.config);
    check(model, plain, images, codes);
    for (const [half, input] of [
      ['encoder', images],
      ['decoder', codes],
    ]) {
      const ours = half === 'encoder' ? () => model.encodeToLatent(input) : () => model.decodeLatent(input);
      const run = (work) => () => noGrad(() => scope(() => void work()));
      const [own, theirs] = alternate([run(ours), run(() => plain[half](input))], rounds);
      const row = { name: `${name} ${half}`, ours: 1 / own, plain: 1 / theirs, ratio: theirs / own };
      process.stderr.write(`${lineOf(row)}\n`);
      rows.push(row);
    }
    model.dispose();
    images.dispose();
    codes.dispose();
  }
  const result = { machine: machine(), size: SIZE, rows };
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${rows.map(lineOf).join('\n')}\n`);
}

const MODELS = {
  'maskgit-vqgan': () => initialise((p) => new MaskgitVqgan(maskgitPreset('maskgit-vqgan'), p)),
  'llamagen-vq16': () => initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq16'), p)),
};

/** Both compute the same thing, or the comparison means nothing. */
function check(model, plain, images, codes) {
  noGrad(() =>
    scope(() => {
      const pairs = [
        [model.encodeToLatent(images), plain.encoder(images)],
        [model.decodeLatent(codes), plain.decoder(codes)],
      ];
      for (const [a, b] of pairs) {
        const off = a.sub(b).abs().amax().item() / b.abs().amax().item();
        if (!(off < 1e-3)) throw new Error(`the plain order differs by ${off}`);
      }
    }),
  );
}

/** Operations by the names of their weights, in the plain order. */
function layers(state) {
  const conv = (name, x, stride = 1) => {
    const weight = state.get(`${name}.weight`);
    const padding = stride === 2 || weight.size(2) === 1 ? 0 : 1;
    return conv2d(x, weight, state.get(`${name}.bias`), [stride, stride], [padding, padding]);
  };
  const norm = (name, x, groups) => groupNorm(x, groups, state.get(`${name}.weight`), state.get(`${name}.bias`), 1e-6);
  const swish = (x) => x.mul(x.sigmoid());
  const up = (name, x) => conv(name, upsampleNearest2d(x, [2 * x.size(2), 2 * x.size(3)]));
  return { conv, norm, swish, up, has: (name) => state.has(`${name}.weight`) };
}

const PLAIN = {
  'maskgit-vqgan': (state, config) => {
    const { conv, norm, swish, up, has } = layers(state);
    const groups = config.groupNormGroups;
    const res = (p, x) => {
      let h = conv(`${p}.conv1`, swish(norm(`${p}.norm1`, x, groups)));
      h = conv(`${p}.conv2`, swish(norm(`${p}.norm2`, h, groups)));
      return (has(`${p}.nin_shortcut`) ? conv(`${p}.nin_shortcut`, h) : x).add(h);
    };
    const deepest = config.channelMultipliers.length - 1;
    const blocks = (p, x) => Array.from({ length: config.resBlocks }).reduce((h, _, j) => res(`${p}.block.${j}`, h), x);
    const middle = (p, x) => res(`${p}.mid.block_2`, res(`${p}.mid.block_1`, x));
    const out = (p, x) => conv(`${p}.conv_out`, swish(norm(`${p}.norm_out`, x, groups)));
    return {
      encoder(images) {
        let x = conv('encoder.conv_in', images);
        for (let level = 0; level <= deepest; level++) {
          x = blocks(`encoder.down.${level}`, x);
          if (level < deepest) x = avgPool2d(x, [2, 2], [2, 2]);
        }
        return out('encoder', middle('encoder', x));
      },
      decoder(codes) {
        let x = middle('decoder', conv('decoder.conv_in', codes));
        for (let level = deepest; level >= 0; level--) {
          x = blocks(`decoder.up.${level}`, x);
          if (level > 0) x = up(`decoder.up.${level}.upsample.conv`, x);
        }
        return out('decoder', x);
      },
    };
  },
  'llamagen-vq16': (state, config) => {
    const { conv, norm, swish, up, has } = layers(state);
    const groups = config.groupNormGroups;
    const res = (p, x) => {
      let h = conv(`${p}.conv1`, swish(norm(`${p}.norm1`, x, groups)));
      h = conv(`${p}.conv2`, swish(norm(`${p}.norm2`, h, groups)));
      return (has(`${p}.nin_shortcut`) ? conv(`${p}.nin_shortcut`, x) : x).add(h);
    };
    const attention = (p, x) => {
      const [n, c, height, width] = x.shape;
      const h = norm(`${p}.norm`, x, groups);
      const [q, k, v] = ['q', 'k', 'v'].map((part) => conv(`${p}.${part}`, h).reshape([n, c, height * width]));
      const scores = q
        .transpose(1, 2)
        .matmul(k)
        .mul(c ** -0.5)
        .softmax(2);
      return x.add(conv(`${p}.proj_out`, v.matmul(scores.transpose(1, 2)).reshape([n, c, height, width])));
    };
    const level = (p, x, count) => {
      let h = x;
      for (let j = 0; j < count; j++) {
        h = res(`${p}.res.${j}`, h);
        if (has(`${p}.attn.${j}.q`)) h = attention(`${p}.attn.${j}`, h);
      }
      return h;
    };
    const middle = (p, x) => res(`${p}.mid.2`, attention(`${p}.mid.1`, res(`${p}.mid.0`, x)));
    const out = (p, x) => conv(`${p}.conv_out`, swish(norm(`${p}.norm_out`, x, groups)));
    const deepest = config.channelMultipliers.length - 1;
    return {
      encoder(images) {
        let x = conv('encoder.conv_in', images);
        for (let i = 0; i <= deepest; i++) {
          x = level(`encoder.conv_blocks.${i}`, x, config.encoderResBlocks);
          if (i < deepest) x = conv(`encoder.conv_blocks.${i}.downsample.conv`, x.constantPadNd([0, 1, 0, 1]), 2);
        }
        return conv('quant_conv', out('encoder', middle('encoder', x)));
      },
      decoder(codes) {
        let x = middle('decoder', conv('decoder.conv_in', conv('post_quant_conv', codes)));
        for (let i = 0; i <= deepest; i++) {
          x = level(`decoder.conv_blocks.${i}`, x, config.decoderResBlocks);
          if (i < deepest) x = up(`decoder.conv_blocks.${i}.upsample.conv`, x);
        }
        return out('decoder', x);
      },
    };
  },
};

/** Processor seconds of the shortest call of each case, the cases in turn. */
function alternate(cases, rounds) {
  const shortest = cases.map(() => Infinity);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, run] of cases.entries()) {
      const before = process.cpuUsage();
      run();
      const { user, system } = process.cpuUsage(before);
      // The first round warms up.
      if (round > 0) shortest[i] = Math.min(shortest[i], (user + system) / 1e6);
    }
  }
  return shortest;
}

function lineOf({ name, ours, plain, ratio }) {
  return `${name.padEnd(24)} ${ours.toFixed(3)} images/s, plain order ${plain.toFixed(3)}: ${ratio.toFixed(2)}×`;
}
