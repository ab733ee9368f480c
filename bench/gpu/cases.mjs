// What is measured on a GPU: the cases of each part, for ours.mjs and, printed as JSON, for baseline.py, which then knows
// of no schedule and no preset. Operations and bytes are counted here, before anything runs: the least that a case must
// do (each weight read once a step, each product once), which over the machine's measured rates gives the floor.
//
//   node bench/gpu/cases.mjs nat          DEVICE=cpu: tiny sizes, to rehearse; CASES='T=8|384 px': only what matches

import { autonatInitialStrategy, autonatSearched8, ENAT_PRESETS, enatStrategy, resolveSteps } from '@tessera/schedule';
import { familyOf, generationCost, gptConfigSchema, gptSizes, levelCost, modelPreset } from 'tessera';

const TINY = process.env.DEVICE === 'cpu';
const BYTES = 2; // of a weight in bf16

/** Matrices and vectors of a network, as numbers. */
function numWeights({ family, config }) {
  const D = config.embedDim;
  const ids = (config.codebookSize + 1 + config.gridSize ** 2 + config.numClasses + 1) * D;
  if (family === 'gpt') {
    const { ffnHidden, numKvHeads, headDim } = gptSizes(config);
    const block = D * (config.numHeads + 2 * numKvHeads) * headDim + D * D + 3 * D * ffnHidden;
    return config.depth * block + config.codebookSize * D;
  }
  const mlp = 2 * config.mlpRatio * D * D;
  // Modulations of ENAT are made once for all steps.
  if (family === 'enat') return (config.encoderDepth + config.decoderDepth) * (6 * D * D + mlp) + ids;
  return (config.depth + 1) * (4 * D * D + mlp) + config.depth * D * D + ids;
}

function natCase(preset, numSteps, batch) {
  const size = /512/.test(preset) ? 512 : 256;
  const { family, config } = modelPreset(TINY ? `${preset.split('-')[0]}-nano` : preset);
  const strategy =
    family === 'enat'
      ? enatStrategy({ ...ENAT_PRESETS[size], numSteps })
      : numSteps === 8
        ? autonatSearched8()
        : autonatInitialStrategy(numSteps);
  const steps = resolveSteps(strategy, config.gridSize ** 2);
  const macs = generationCost(familyOf(family), config, strategy).computed * batch;
  const name = `${preset}${size === 256 ? ' 256' : ''} px, T=${numSteps}, batch ${batch}`;
  const bytes = numWeights({ family, config }) * BYTES * numSteps;
  return {
    part: 'nat',
    name,
    family,
    config,
    strategy,
    steps,
    batch,
    flops: 2 * macs,
    bytes,
    /** Also step by step and with openings kept. */
    variants: TINY || numSteps === 8,
    /** Also in float32: once a preset, at 512 px (slow without TF32) for one image. */
    float32: TINY || (numSteps === 8 && (size === 256 ? batch === 64 : batch === 1)),
    /** AutoNAT is compiled anew for each shape, most of a minute each. */
    compile: TINY || (numSteps === 8 && size === 256),
  };
}

function natCases() {
  const cases = [];
  for (const preset of ['enat-l', 'autonat-l', 'enat-l-512', 'autonat-l-512']) {
    for (const batch of TINY ? [2] : [1, 64]) {
      for (const numSteps of preset.endsWith('512') ? [8] : [8, 4, 12]) cases.push(natCase(preset, numSteps, batch));
    }
  }
  return TINY ? cases.filter(({ family, steps }) => family === 'enat' && steps.length === 4).slice(0, 1) : cases;
}

/** Published seconds of 8 guided images at 384 px on an A100: the released sampler, and the same under vLLM (LlamaGen, table 7). */
const PUBLISHED = { 'gpt-b': [7.8, 2.39], 'gpt-l': [13.72, 3.48], 'gpt-xl': [19.76, 4.84] };

function generateCases() {
  const cases = [];
  for (const preset of ['gpt-b', 'gpt-l', 'gpt-xl']) {
    for (const gridSize of [24, 16]) {
      for (const batch of TINY ? [2] : gridSize === 24 ? [8] : [1, 8, 32]) {
        const { family, config } = modelPreset(TINY ? 'gpt-nano' : preset, TINY ? {} : { gridSize });
        const { seqLen, headDim, numKvHeads } = gptSizes(config);
        const rows = 2 * batch; // with guidance
        const weights = numWeights({ family, config });
        const cache = 2 * config.depth * numKvHeads * headDim * BYTES * rows * ((seqLen * (seqLen + 1)) / 2);
        const attention = 4 * config.depth * config.embedDim * rows * ((seqLen * (seqLen + 1)) / 2);
        cases.push({
          part: 'generate',
          name: `${preset} ${gridSize * 16} px, batch ${batch}, guided`,
          family,
          config,
          batch,
          guidanceScale: 2,
          /** Also without recordings. */
          variants: TINY || batch === 8,
          // Each compilation takes a minute.
          compile: TINY || (gridSize === 24 && batch === 8),
          ...(gridSize === 24 && batch === 8 ? { published: PUBLISHED[preset] } : {}),
          flops: 2 * weights * rows * seqLen + attention,
          bytes: weights * BYTES * seqLen + cache,
        });
      }
    }
  }
  return TINY ? cases.slice(0, 1) : cases;
}

const MASK_RATIO = 0.8; // the mean of Beta(12, 3)

/** The batch is found on the machine, the largest of these that fits; what is compiled begins with that of eager. */
function trainCases() {
  return ['enat-l', 'autonat-l', 'gpt-l'].map((preset) => {
    const { family, config } = modelPreset(TINY ? `${preset.split('-')[0]}-nano` : preset);
    const length = config.gridSize ** 2;
    const masked = Math.round(MASK_RATIO * length);
    const macs =
      family === 'gpt'
        ? levelCost(gptConfigSchema.parse(config), 1).macs
        : familyOf(family).stepMacs(config, { masked, fresh: length - masked, reused: 0 }).computed;
    return {
      part: 'train',
      name: `${preset}, 256 px, bf16 autocast`,
      family,
      config,
      masked,
      batches: TINY ? [4] : [1024, 768, 512, 384, 256, 192, 128, 64, 32],
      /** Of one image: forward, and twice that backward. */
      flops: 6 * macs,
      bytes: 0,
    };
  });
}

function vqCases() {
  const cases = [];
  for (const way of ['encode', 'decode']) {
    for (const batch of TINY ? [2] : [1, 32]) {
      cases.push({
        part: 'vq',
        name: `vq-16, 256 px, ${way}, batch ${batch}, float32`,
        way,
        batch,
        size: TINY ? 32 : 256,
        compile: TINY || batch > 1,
      });
    }
  }
  return cases;
}

const PARTS = {
  nat: natCases,
  generate: generateCases,
  train: trainCases,
  vq: vqCases,
  overhead: () => [{ part: 'overhead', name: 'add of one entry, host time', chain: 1000 }],
  ceilings: () => [
    { part: 'ceilings', name: 'bf16 matrix product', side: TINY ? 256 : 8192 },
    { part: 'ceilings', name: 'copy on the device', megabytes: TINY ? 16 : 2048 },
  ],
};

export function casesOf(part) {
  const make = PARTS[part];
  if (make === undefined) throw new Error(`expected one of ${Object.keys(PARTS).join(', ')}, got ${part}`);
  const all = make();
  const wanted = new RegExp(process.env.CASES ?? '');
  const some = all.filter(({ name }) => wanted.test(name));
  return some.length === 0 ? all : some;
}

if (import.meta.url === `file://${process.argv[1]}`) console.log(JSON.stringify(casesOf(process.argv[2])));
