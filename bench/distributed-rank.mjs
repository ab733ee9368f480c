// One rank of `npm run bench -- distributed`. The cases take turns in each round; while one rank works alone the other waits.
// Prints, on rank 0, the shortest times in seconds.
// Usage: node distributed-rank.mjs ROUNDS MIB,MIB,…

import { DataParallelReducer, destroyProcessGroup, initProcessGroup, keep, manualSeed, noGrad, rand, randint, scope, setNumThreads, zeros } from '@tessera/torch'; // biome-ignore format: one row
import { AdamW, Enat, enatLoss, enatPreset, initialise } from 'tessera';

const [rounds, sizes] = [Number(process.argv[2]), process.argv[3].split(',').map(Number)];
/** Few images: short blocks find calm moments on a machine that does other things, and the exchange is not lost in them. */
const SHARD = 4;
const MASK_RATIO = 0.8;
setNumThreads(1);
const group = await initProcessGroup({ timeoutMs: 120_000 });

manualSeed(0);
const model = initialise((p) => new Enat(enatPreset('enat-nano'), p)).trainable();
const parameters = [...model.parameters.values()];
const optimizer = new AdamW(model.parameters, { betas: [0.9, 0.99], weightDecay: 0.03 });
const { seqLen, config } = model;
const tokens = keep(randint(0, config.codebookSize, [SHARD, seqLen]));
const labels = keep(randint(0, config.numClasses, [SHARD]));
const order = keep(scope(() => rand([SHARD, seqLen]).argsort(1)));
const input = { tokens, labels, order, maskCount: Math.round(MASK_RATIO * seqLen), labelSmoothing: 0.1, dropout: { probability: 0.1 } }; // biome-ignore format: one row
const loss = () => enatLoss(model, input).loss;

/** A step of so many shards; the last one's backward pass exchanges gradients where there is a reducer. */
function step(shards, reducer) {
  scope(() => {
    for (let i = 0; i < shards; i++) {
      scope(() => {
        if (i === shards - 1 && reducer !== undefined) reducer.backward(loss());
        else loss().backward();
      });
    }
    optimizer.step(1e-4);
    model.clearGradients();
  });
}

/** What each case took: seconds on the clock, and of this process's processors. */
const times = { alone: [], shared: [], without: [], exchange: [] };
const numParameters = parameters.reduce((sum, { numel }) => sum + numel, 0);
const gradients = keep(zeros([numParameters]));

function timed(name, body) {
  group.barrier();
  const [began, used] = [performance.now(), process.cpuUsage()];
  body();
  const { user, system } = process.cpuUsage(used);
  times[name].push({ seconds: (performance.now() - began) / 1000, processor: (user + system) / 1e6 });
}

for (let round = 0; round <= rounds; round++) {
  if (round === 1) for (const list of Object.values(times)) list.length = 0; // the first was for warming up
  timed('alone', () => {
    if (group.rank === 0) step(2);
  });
  // Both do as much as in a shared step, each for itself; the barrier makes it as long as the slower one.
  timed('without', () => {
    step(1);
    group.barrier();
  });
  // Its hooks exchange in every backward pass, so it is there for these steps alone; the first of them orders its buckets.
  const reducer = new DataParallelReducer(group, parameters, { findUnusedParameters: true });
  step(1, reducer);
  for (let i = 0; i < 3; i++) timed('shared', () => step(1, reducer));
  reducer.dispose();
  timed('exchange', () => noGrad(() => group.allReduce(gradients)));
}

const shortest = (key) => Object.fromEntries(Object.entries(times).map(([name, list]) => [name, Math.min(...list.map((time) => time[key]))])); // biome-ignore format: one row
const steps = { ...shortest('seconds'), processor: shortest('processor'), batch: 2 * SHARD, parameters: numParameters };

const allReduce = sizes.map((mebibytes) => {
  const tensor = keep(zeros([mebibytes * 2 ** 18]));
  times.exchange.length = 0;
  for (let round = 0; round <= rounds; round++) timed('exchange', () => noGrad(() => group.allReduce(tensor)));
  tensor.dispose();
  return { mebibytes, seconds: Math.min(...times.exchange.map(({ seconds }) => seconds)) };
});
if (group.rank === 0) {
  process.stdout.write(`${JSON.stringify({ steps, allReduce })}\n`);
}
await destroyProcessGroup();
