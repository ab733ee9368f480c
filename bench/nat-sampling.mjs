// Sampling of one NAT model of random weights, noise to tokens, for bench/sample.mjs in a process of its own, so that its
// peak memory is its own: ours, in int8, the order of the released code on the same engine (reference-nat.mjs), and the
// machine's matrix products. Prints one JSON object.
//
// The clock is the processor's time of this process where one thread works, so that whatever else the machine does counts
// little; with several threads, which wait for each other busily, it is the wall's.

import { autonatSearched8, ENAT_PRESETS, enatStrategy, resolveSteps } from '@tessera/schedule';
import { arange, linear, manualSeed, memoryStats, noGrad, randn, scope, setNumThreads } from '@tessera/torch';
import {
  familyOf,
  generateTokens,
  generationCost,
  initialise,
  MaskedGeneration,
  modelPreset,
  Openings,
  philoxNoise,
} from 'tessera';
import { summary } from './measure.mjs';
import { referenceTokens } from './reference-nat.mjs';

const [name, ...numbers] = process.argv.slice(2);
/** No round begins after `lastStart` seconds. */
const [batch, rounds, threads, lastStart] = numbers.map(Number);
setNumThreads(threads);

const { family, config } = modelPreset(name);
manualSeed(1);
const model = initialise((p) => familyOf(family).construct(config, p));
// As first made, ENAT's gates are shut and its blocks do nothing: open them, so that comparing tokens means something.
noGrad(() => {
  for (const [key, tensor] of model.state) if (key.includes('adaLN')) tensor.normal_(0, 0.02);
});
const strategy =
  family === 'autonat' ? { ...autonatSearched8(), skipGuidanceBelow: 0 } : enatStrategy(ENAT_PRESETS[256]);
const skipping = { ...strategy, skipGuidanceBelow: 1e-3 };
const guidedSteps = (chosen) => resolveSteps(chosen, model.seqLen).filter((step) => step.guidanceScale !== 1).length;
const skipsNothing = guidedSteps(strategy) === guidedSteps(skipping);

const labelsOf = (count) => Array.from({ length: count }, (_, i) => i % config.numClasses);
const noiseOf = (count) =>
  philoxNoise(
    7,
    labelsOf(count).map((_, i) => i),
  );
const ours = (chosen, count = batch) =>
  scope(() => generateTokens(model, { strategy: chosen, labels: labelsOf(count), noise: noiseOf(count) }).toNumbers());

/** Made once, outside of any time taken. */
function recordedNoise() {
  const source = noiseOf(batch);
  return scope(() => {
    const everywhere = arange(0, model.seqLen).unsqueeze(0).expand([batch, model.seqLen]).contiguous();
    const steps = Array.from({ length: strategy.numSteps }, (_, i) => i);
    return {
      exponential: steps.map((step) => source.exponential(step, everywhere, config.codebookSize)),
      gumbel: steps.map((step) => source.gumbel(step, model.seqLen)),
    };
  });
}

/** MACs a second of the products that dominate: tokens of both branches times the MLP's two matrices. */
function matmulRate() {
  const rows = batch * 2 * model.seqLen;
  const { embedDim } = config;
  return noGrad(() =>
    scope(() => {
      const [x, up, down] = [randn([rows, embedDim]), randn([4 * embedDim, embedDim]), randn([embedDim, 4 * embedDim])];
      const pair = () => scope(() => void linear(linear(x, up), down));
      const macs = rows * embedDim * embedDim * 8;
      const calls = Math.max(1, Math.round(4e10 / macs));
      pair();
      const { seconds } = timed(() => {
        for (let i = 0; i < calls; i++) pair();
      });
      return (calls * macs) / seconds;
    }),
  );
}

function timed(run) {
  const began = performance.now();
  const before = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(before);
  return { seconds: threads === 1 ? (user + system) / 1e6 : (performance.now() - began) / 1000, result };
}

const shareEqual = (a, b) => a.filter((token, i) => token === b[i]).length / a.length;

const weightBytes = scope(() => memoryStats().liveBytes);
ours(skipping, 1);
const peakBytes = process.resourceUsage().maxRSS * 1024;
const noise = recordedNoise();
const openings = new Openings(model);
scope(() => openings.predict(labelsOf(batch), true));
const opening = openings.of(labelsOf(batch));
const ways = { whole: { strategy }, kept: { strategy, opening } };
if (!skipsNothing)
  Object.assign(ways, { skipping: { strategy: skipping }, keptSkipping: { strategy: skipping, opening } });

/**
 * All ways side by side, a step of each after a step of the released order, so that a machine whose speed moves is as fast
 * for one as for the other. Seconds of each, and its tokens.
 */
function round() {
  const runs = Object.entries(ways).map(([key, options]) => {
    const all = { labels: labelsOf(batch), noise: noiseOf(batch), ...options };
    const { seconds, result } = timed(() => new MaskedGeneration(model, all));
    return { key, generation: result, seconds, tokens: [] };
  });
  const rates = [];
  let between = 0;
  const stepOfEach = () => {
    rates.push(matmulRate());
    for (const run of runs) {
      if (run.generation.isDone) continue;
      const { seconds, result } = timed(() => run.generation.step());
      run.seconds += seconds;
      run.tokens = result.toNumbers();
      result.dispose();
    }
  };
  const released = timed(() =>
    referenceTokens(model, strategy, labelsOf(batch), noise, () => {
      between += timed(stepOfEach).seconds;
    }),
  );
  for (const { generation } of runs) generation.dispose();
  const seconds = Object.fromEntries(runs.map((run) => [run.key, run.seconds]));
  const tokens = Object.fromEntries(runs.map((run) => [run.key, run.tokens]));
  return {
    ...seconds,
    released: released.seconds - between,
    rate: summary(rates).median,
    tokens,
    releasedTokens: released.result,
  };
}

// A step of both first, for memory is cleared when it is first used.
const firstStep = { ...strategy, numSteps: 1, steps: strategy.steps.slice(0, 1) };
ours(firstStep);
referenceTokens(model, firstStep, labelsOf(batch), noise, () => {});
const done = [];
const began = performance.now();
do done.push(round());
while (done.length < rounds && performance.now() - began < lastStart * 1000);
const each = (value) => summary(done.map(value));
const keys = ['whole', 'skipping', 'kept', 'keptSkipping'];
/** Where nothing is skipped, the leaner way is the same. */
const of = (result, key) => result[key] ?? result[key === 'skipping' ? 'whole' : 'kept'];
const perWay = (value) => Object.fromEntries(keys.map((key) => [key, value(key)]));

const { tokens, releasedTokens } = done.at(-1);
let int8;
if (model.useInt8()) {
  const { seconds, result } = timed(() => ours(skipping));
  int8 = { seconds: summary([seconds]), equalTokens: shareEqual(result, of(tokens, 'skipping')) };
}
const cost = (chosen) => generationCost(familyOf(family), config, chosen);
const macs = (chosen) => cost(chosen).computed * batch - cost(chosen).shared * (batch - 1);
/** Without the first step: a row a class, all classes being others, and one without a class where that step is guided. */
const keptMacs = (chosen) => {
  const { computed, guided } = cost(chosen).steps[0];
  return macs(chosen) - (guided ? (computed / 2) * (batch + 1) : computed * batch);
};
const allMacs = {
  whole: macs(strategy),
  skipping: macs(skipping),
  kept: keptMacs(strategy),
  keptSkipping: keptMacs(skipping),
  released: cost(strategy).reference * batch,
};
process.stdout.write(
  JSON.stringify({
    name,
    batch,
    numSteps: strategy.numSteps,
    clock: threads === 1 ? 'processor' : 'wall',
    rounds: done.length,
    seconds: { ...perWay((key) => each((result) => of(result, key))), released: each((result) => result.released) },
    rate: each((result) => result.rate),
    against: perWay((key) => each((result) => result.released / of(result, key))),
    share: {
      ...perWay((key) => each((result) => allMacs[key] / of(result, key) / result.rate)),
      released: each((result) => allMacs.released / result.released / result.rate),
    },
    int8,
    macs: allMacs,
    equalTokens: shareEqual(tokens.whole, releasedTokens),
    equalKept: shareEqual(tokens.kept, tokens.whole),
    peakBytes,
    weightBytes,
  }),
);
openings.dispose();
model.dispose();
