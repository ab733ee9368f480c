// One rank of a tiny training of a family: what the tests of distributed training start, kill and compare. Prints the items
// of every shard that it runs and every step, as JSON a line. Who it is comes from torchrun's variables.
// Usage: node train-family.mjs FAMILY FOLDER '{"totalSteps": 20, …}'

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Draws } from '@tessera/schedule';
import {
  destroyProcessGroup,
  GradScaler,
  hasLauncherEnvironment,
  initProcessGroup,
  listen,
  manualSeed,
  memoryStats,
  noGrad,
  scope,
  setNumThreads,
  Tensor,
  tensor,
} from '@tessera/torch';
import {
  createGeneratorTask,
  createVqTask,
  openRunTogether,
  placeholderParameters,
  Ranks,
  resolveTrainingConfig,
  ShardedModule,
  trainLoop,
} from '../../packages/tessera/dist/index.js';
import { familyOf } from '../../packages/tessera/dist/models/registry.js';
import { initialise, ParameterBuilder } from '../../packages/tessera/dist/nn/module.js';
import { loadModule } from '../../packages/tessera/dist/nn/state-dict.js';
import { vqPreset } from '../../packages/tessera/dist/tokenizers/vq-config.js';

const [family, folder, changes = '{}'] = process.argv.slice(2);
// What makes a rank another than its fellows, for the tests that want a failure.
const {
  shift = 0,
  slowness = 0,
  timeoutMs = 60_000,
  stopAt = 0,
  dieAt = 0,
  dieWriting = 0,
  overflowAt = 0,
  ...others
} = JSON.parse(changes);
// How the networks are spread, and whether to say how much memory that takes.
const { shardOptimizer = false, shardParameters = false, recompute = false, network = {}, memory = false, ...settings } = others; // biome-ignore format: one row
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
setNumThreads(1);

const NAT = { gridSize: 4, codebookSize: 12, numClasses: 3, embedDim: 16, numHeads: 2, mlpRatio: 2, tokenDropout: 0.1 };
const CONFIGS = {
  enat: { ...NAT, encoderDepth: 2, decoderDepth: 1 },
  autonat: { ...NAT, depth: 2 },
  gpt: { gridSize: 4, codebookSize: 12, numClasses: 3, embedDim: 32, numHeads: 2, depth: 2, ffnMultipleOf: 8 },
};
const RECIPES = {
  enat: { reuseProbability: 0.5, labelDrop: 0.2 },
  autonat: { labelDrop: 0.2 },
  gpt: { labelDrop: 0.2 },
};

function generatorTask() {
  const row = familyOf(family);
  const construct = (p) => row.construct(row.schema.parse({ ...CONFIGS[family], ...network }), p);
  const model = initialise(construct);
  // Some families start with closed gates: open them, so that every path matters.
  noGrad(() =>
    scope(() => {
      for (const weight of model.parameters.values()) weight.add_(weight.randnLike().mul(0.05));
    }),
  );
  const pieces = shardParameters && group !== undefined ? inPieces(model, construct, row.blockOf) : undefined;
  const ema = pieces?.ema.whole ?? loadModule(construct, model.state, 'the network');
  if (pieces === undefined) model.trainable();
  const draws = new Draws(3, 0, 0, 0);
  const tokens = Array.from({ length: 96 }, () => Array.from({ length: 16 }, () => draws.integer(12)));
  const data = {
    numRows: 96,
    seqLen: 16,
    codebookSize: 12,
    classes: ['a', 'b', 'c'],
    rows: (items) => ({
      tokens: tensor(
        items.map((i) => tokens[i]),
        'int64',
      ),
      labels: tensor(
        items.map((i) => i % 3),
        'int64',
      ),
    }),
  };
  return createGeneratorTask({
    model,
    ema,
    pieces,
    recompute,
    data,
    heldOut: data,
    recipe: row.recipe.parse(RECIPES[family]),
  });
}

function inPieces(model, construct, blockOf) {
  const cut = ShardedModule.cut(model, group, blockOf);
  cut.trainable();
  return { model: cut, ema: cut.copyFor(construct(new ParameterBuilder(placeholderParameters())), blockOf) };
}

function vqTask() {
  const draws = new Draws(4, 0, 0, 0);
  const pixels = Uint8Array.from({ length: 48 * 16 * 16 * 3 }, () => draws.integer(256));
  return createVqTask({
    config: vqPreset('vq-small', { codebookSize: 16, codeDim: 4, latentChannels: 8, channels: 8, channelMultipliers: [1, 2, 2], usageFifo: 256 }), // biome-ignore format: one row
    recipe: { reviveEvery: 7, reviveImages: 24, horizontalFlip: true, discriminator: { kind: 'patchgan', baseChannels: 8, numLayers: 2 }, discriminatorStart: 3 }, // biome-ignore format: one row
    images: { pixels, height: 16, width: 16 },
    heldOut: { pixels: pixels.subarray(0, 8 * 16 * 16 * 3), height: 16, width: 16 },
  });
}

const config = resolveTrainingConfig({
  seed: 7,
  globalBatch: 16,
  shardSize: 4,
  totalSteps: 20,
  // A tokenizer against its discriminator doubles every rounding from step to step where the rate is high.
  learningRate: { kind: 'cosine', base: family === 'vq' ? 2e-4 : 2e-3, warmupSteps: 3, totalSteps: 20 },
  weightDecay: 0.05,
  clip: 1,
  logEvery: 1,
  checkpointEvery: 5,
  evaluateEvery: 10,
  keepCheckpoints: 100,
  ...settings,
});

/** Ends this process in the middle of the first file that it writes into a folder. */
function dieWhileWriting(writing) {
  const { toBytes } = Tensor.prototype;
  Tensor.prototype.toBytes = function () {
    if (existsSync(writing)) process.kill(process.pid, 'SIGKILL');
    return toBytes.call(this);
  };
}

/** The last rank finds an infinity in its own gradients, once. */
function overflow() {
  const { unscale_ } = GradScaler.prototype;
  let calls = 0;
  GradScaler.prototype.unscale_ = function (gradients) {
    if (++calls === overflowAt) gradients[0].fill_(Number.POSITIVE_INFINITY);
    return unscale_.call(this, gradients);
  };
}

const group = hasLauncherEnvironment() ? await initProcessGroup({ timeoutMs }) : undefined;
const ranks = new Ranks(group);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
try {
  manualSeed(config.seed);
  const task = family === 'vq' ? vqTask() : generatorTask();
  const shardLoss = task.shardLoss.bind(task);
  task.shardLoss = (shard) => {
    say({ shard: shard.index, step: shard.step, items: shard.items });
    if (slowness > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, slowness);
    return shardLoss(shard);
  };
  if (dieWriting > 0 && ranks.rank === ranks.size - 1) dieWhileWriting(join(folder, `checkpoints/.writing-step-${String(dieWriting).padStart(7, '0')}`)); // biome-ignore format: one row
  if (overflowAt > 0 && ranks.rank === ranks.size - 1) overflow();
  let peak = 0;
  if (memory) {
    listen(() => {
      peak = Math.max(peak, memoryStats().liveBytes);
    });
  }
  const run = await openRunTogether(folder, { training: config, shift: shift * ranks.rank }, ranks);
  for await (const event of trainLoop(task, config, run, { ranks, shardOptimizer, signal: stop.signal })) {
    if (event.kind !== 'sample') say(event);
    if (event.kind === 'step' && memory) say({ kind: 'memory', live: memoryStats().liveBytes, peak });
    // The last rank, in the first attempt of a launcher.
    const dies = ranks.rank === ranks.size - 1 && process.env.TORCHELASTIC_RESTART_COUNT === '0';
    if (event.kind === 'step' && event.step === dieAt && dies) process.kill(process.pid, 'SIGKILL');
    if (event.kind === 'step' && event.step === stopAt - (ranks.size > 1 ? 1 : 0)) stop.abort();
  }
  run.close();
  await destroyProcessGroup();
} catch (error) {
  say({ kind: 'error', code: error.code, message: error.message, ranks: error.ranks });
  process.exitCode = 1;
  await destroyProcessGroup({ farewellMs: 0 });
}
