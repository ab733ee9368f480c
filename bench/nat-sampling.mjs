// Sampling of one NAT model of random weights, noise to tokens, for bench/sample.mjs in a process of its own, so that its
// peak memory is its own: ours, the order of the released code on the same engine, and the machine's matrix products.
//
// The released order runs both branches one after the other at every step, makes ENAT's modulations anew each time, and
// evaluates the head at every position. Steps, noise and sampler are the same, and so are the tokens (compared here).

import { autonatSearched8, ENAT_PRESETS, enatStrategy, resolveSteps } from '@tessera/schedule';
import { cat, linear, manualSeed, noGrad, randn, scope, setNumThreads, tensor } from '@tessera/torch';
import {
  allMasked,
  familyOf,
  generateTokens,
  generationCost,
  guide,
  initialise,
  maskedStep,
  modelPreset,
  philoxNoise,
} from 'tessera';
import { summary } from './measure.mjs';

const [name, batchText, roundsText, threadsText] = process.argv.slice(2);
const [batch, rounds, threads] = [batchText, roundsText, threadsText].map(Number);
setNumThreads(threads);

const { family, config } = modelPreset(name);
manualSeed(1);
const model = initialise((p) => familyOf(family).construct(config, p));
const labels = Array.from({ length: batch }, (_, i) => i % config.numClasses);
const noise = philoxNoise(
  7,
  labels.map((_, i) => i),
);
const strategy =
  family === 'autonat' ? { ...autonatSearched8(), skipGuidanceBelow: 0 } : enatStrategy(ENAT_PRESETS[256]);
const skipping = { ...strategy, skipGuidanceBelow: 1e-3 };

const ours = (chosen) => scope(() => generateTokens(model, { strategy: chosen, labels, noise }).toNumbers());

/** Logits of one branch at every position, as the released code makes them; returns also what it carries on. */
function branch(state, rows, carried) {
  const conditioning = model.condition(rows);
  if (family === 'autonat') return { logits: model.head(model.features({ tokens: state.tokens, conditioning })) };
  const output = model.forward({ ...state, reused: carried, conditioning });
  const parts = [output.masked, ...(output.state === undefined ? [] : [output.state.features])];
  return { logits: model.head(cat(parts, 1)), carried: output.state };
}

function releasedOrder() {
  return noGrad(() =>
    scope(() => {
      const rows = tensor(labels, 'int64');
      const nulls = rows.fullLike(model.nullLabel);
      let state = allMasked(batch, model.seqLen, model.maskToken);
      let [conditional, unconditional] = [undefined, undefined];
      let sampled;
      for (const [step, settings] of resolveSteps(strategy, model.seqLen).entries()) {
        const cond = branch(state, rows, conditional);
        const uncond = branch(state, nulls, unconditional);
        [conditional, unconditional] = [cond.carried, uncond.carried];
        const count = state.masked.size(1);
        // ENAT's masked positions stand first here; AutoNAT's are picked out.
        const atMasked = (x) =>
          family === 'autonat'
            ? x.gather(1, state.masked.unsqueeze(-1).expand([-1, -1, x.size(2)]))
            : x.narrow(1, 0, count);
        const logits = atMasked(guide(cond.logits, uncond.logits, settings.guidanceScale));
        const last = step === strategy.numSteps - 1;
        const result = maskedStep(
          state,
          logits,
          { ...settings, remaskCount: last ? 0 : settings.remasked, remask: strategy.remask },
          {
            exponential: noise.exponential(step, state.masked, config.codebookSize),
            gumbel: noise.gumbel(step, model.seqLen).gather(1, state.masked),
          },
          model.maskToken,
        );
        sampled = result.sampled;
        state = result.next;
      }
      return sampled.toNumbers();
    }),
  );
}

/** MACs a second of the products that dominate: a batch of tokens times the MLP's matrix. */
function matmulRate() {
  const rows = batch * 2 * model.seqLen;
  const { embedDim } = config;
  return noGrad(() =>
    scope(() => {
      const [x, w] = [randn([rows, embedDim]), randn([4 * embedDim, embedDim])];
      const calls = Math.max(1, Math.round(4e9 / (rows * embedDim * embedDim * 4)));
      linear(x, w).dispose();
      const began = performance.now();
      for (let i = 0; i < calls; i++) linear(x, w).dispose();
      return (calls * rows * embedDim * embedDim * 4) / ((performance.now() - began) / 1000);
    }),
  );
}

function seconds(run) {
  const began = performance.now();
  const tokens = run();
  return { seconds: (performance.now() - began) / 1000, tokens };
}

ours(skipping);
const afterOurs = process.resourceUsage().maxRSS * 1024;
const times = { whole: [], skipping: [], released: [], rate: [] };
let equal = 0;
for (let round = 0; round < rounds; round++) {
  const [whole, released] = [seconds(() => ours(strategy)), seconds(releasedOrder)];
  times.rate.push(matmulRate());
  times.whole.push(whole.seconds);
  times.released.push(released.seconds);
  times.skipping.push(seconds(() => ours(skipping)).seconds);
  equal = whole.tokens.filter((token, i) => token === released.tokens[i]).length / whole.tokens.length;
}
const macs = (chosen) => generationCost(familyOf(family), config, chosen).computed * batch;
const weights = model.numParameters * 4;
process.stdout.write(
  JSON.stringify({
    name,
    batch,
    numSteps: strategy.numSteps,
    seconds: Object.fromEntries(Object.entries(times).map(([key, list]) => [key, summary(list)])),
    macs: { whole: macs(strategy), skipping: macs(skipping) },
    equalTokens: equal,
    peakBytes: afterOurs,
    weightBytes: weights,
  }),
);
model.dispose();
