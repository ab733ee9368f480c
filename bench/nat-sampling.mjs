// Sampling of one NAT model of random weights, noise to tokens, for bench/sample.mjs in a process of its own, so that its
// peak memory is its own: ours, in int8, the order of the released code on the same engine (reference-nat.mjs), and the
// machine's matrix products. Prints one JSON object.
//
// The clock is the processor's time of this process where one thread works, so that whatever else the machine does counts
// little; with several threads, which wait for each other busily, it is the wall's.

import { autonatSearched8, ENAT_PRESETS, enatStrategy, resolveSteps } from '@tessera/schedule';
import { arange, linear, manualSeed, memoryStats, noGrad, randn, scope, setNumThreads } from '@tessera/torch';
import { familyOf, generateTokens, generationCost, initialise, modelPreset, Openings, philoxNoise } from 'tessera';
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
const ours = (chosen, { count = batch, openings } = {}) => {
  const options = { strategy: chosen, labels: labelsOf(count), noise: noiseOf(count), openings };
  return scope(() => generateTokens(model, options).toNumbers());
};

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
ours(skipping, { count: 1 });
const peakBytes = process.resourceUsage().maxRSS * 1024;
const noise = recordedNoise();
const openings = new Openings();
ours({ ...strategy, numSteps: 1, steps: strategy.steps.slice(0, 1) }, { openings });
const times = { whole: [], skipping: [], kept: [], keptSkipping: [], released: [], rate: [] };
const began = performance.now();
let equalTokens = 0;
let floatTokens;
for (let round = 0; round < rounds; round++) {
  if (round > 0 && performance.now() - began > lastStart * 1000) break;
  times.rate.push(matmulRate());
  const whole = timed(() => ours(strategy));
  const released = timed(() => referenceTokens(model, strategy, labelsOf(batch), noise));
  const lean = skipsNothing ? whole : timed(() => ours(skipping));
  const kept = timed(() => ours(strategy, { openings }));
  const keptLean = skipsNothing ? kept : timed(() => ours(skipping, { openings }));
  times.whole.push(whole.seconds);
  times.released.push(released.seconds);
  times.skipping.push(lean.seconds);
  times.kept.push(kept.seconds);
  times.keptSkipping.push(keptLean.seconds);
  equalTokens = shareEqual(whole.result, released.result);
  floatTokens = lean.result;
}
let int8;
if (model.useInt8()) {
  const { seconds, result } = timed(() => ours(skipping));
  int8 = { seconds: summary([seconds]), equalTokens: shareEqual(result, floatTokens) };
}
const cost = (chosen) => generationCost(familyOf(family), config, chosen);
const macs = (chosen) => cost(chosen).computed * batch - cost(chosen).shared * (batch - 1);
/** Without the first step: a row a class, all classes being others, and one without a class where that step is guided. */
const keptMacs = (chosen) => {
  const { computed, guided } = cost(chosen).steps[0];
  return macs(chosen) - (guided ? (computed / 2) * (batch + 1) : computed * batch);
};
process.stdout.write(
  JSON.stringify({
    name,
    batch,
    numSteps: strategy.numSteps,
    clock: threads === 1 ? 'processor' : 'wall',
    rounds: times.whole.length,
    seconds: Object.fromEntries(Object.entries(times).map(([key, list]) => [key, summary(list)])),
    int8,
    macs: {
      whole: macs(strategy),
      skipping: macs(skipping),
      kept: keptMacs(strategy),
      keptSkipping: keptMacs(skipping),
      released: cost(strategy).reference * batch,
    },
    equalTokens,
    peakBytes,
    weightBytes,
  }),
);
openings.dispose();
model.dispose();
