// The cases of a part on our own engine, a JSON line a result; DEVICE=cpu rehearses on tiny sizes. Weights are random:
// times do not depend on their values.
//
//   node bench/gpu/ours.mjs nat

import { autoregressiveSettings } from '@tessera/schedule';
import * as T from '@tessera/torch';
import {
  AdamW,
  AutoregressiveGeneration,
  autonatLoss,
  Ema,
  enatLoss,
  familyOf,
  forgetGraph,
  generateLabelled,
  gptLoss,
  initialise,
  initialTensor,
  LlamaGenVq,
  loadModule,
  Openings,
  ParameterBuilder,
  philoxTokenNoise,
  useDevice,
  vqPreset,
} from 'tessera';
import { casesOf } from './cases.mjs';
import { device, report, timed } from './measure.mjs';

useDevice(device);
T.manualSeed(1);
/** cuBLAS says it in its own way: its handle of the backward's thread is made when the forward has taken nearly all. */
const NO_MEMORY = /out of memory|ALLOC_FAILED|NOT_INITIALIZED/i;
const { noGrad, scope } = T;

/** A network of random weights, none of them zero, drawn where it is: half a billion of them take seconds on a CPU. */
function network({ family, config }, dtype) {
  const construct = (p) => familyOf(family).construct(config, p);
  const where = { device: device === 'cpu' ? 'cpu' : 'cuda:0' };
  const take = (_, shape, initialisation) =>
    noGrad(() =>
      scope(() => {
        if (shape.length > 1) return T.keep(T.empty(shape, where).normal_(0, 0.02));
        return T.keep(initialTensor(shape, initialisation).to(where.device));
      }),
    );
  const whole = construct(new ParameterBuilder({ take }));
  if (dtype === 'float32') return whole;
  const model = loadModule(construct, whole.state, family, dtype);
  whole.dispose();
  return model;
}

/** Networks are large: those of one configuration are kept, a type each, until another is asked for. */
const last = { key: undefined, models: new Map() };
function cached(item, dtype) {
  const key = JSON.stringify([item.family, item.config]);
  if (last.key !== key) dropCached();
  last.key = key;
  if (!last.models.has(dtype)) last.models.set(dtype, network(item, dtype));
  return last.models.get(dtype);
}
function dropCached() {
  for (const model of last.models.values()) model.dispose();
  last.models.clear();
  T.emptyCache();
}

const RUNS = {
  nat(item) {
    const whole = [
      ['ours', true, 'bfloat16', true],
      ['ours, openings kept', item.variants, 'bfloat16', true, true],
      ['ours, no graphs', item.variants, 'bfloat16', false],
      ['ours, float32', item.float32, 'float32', true],
    ];
    for (const [who, wanted, dtype, graphs, keepsOpenings] of whole) {
      if (!wanted) continue;
      report(who, item, () => {
        const model = cached(item, dtype);
        const labels = Array.from({ length: item.batch }, (_, i) => i % item.config.numClasses);
        const openings = keepsOpenings ? new Openings(model) : undefined;
        const options = { strategy: item.strategy, labels, seed: 1, first: 0, graphs, openings };
        try {
          // A batch is drawn plainly the first time and recorded the second.
          return timed(() => scope(() => void generateLabelled(model, options)), graphs ? 2 : 1);
        } finally {
          forgetGraph(model);
          openings?.dispose();
        }
      });
    }
  },

  generate(item) {
    for (const [who, graphs] of [
      ['ours', true],
      ['ours, no graphs', false],
    ]) {
      if (!graphs && !item.variants) continue;
      report(who, item, () => {
        const model = cached(item, 'bfloat16');
        let cacheBytes = 0;
        const result = timed(() => {
          const images = Array.from({ length: item.batch }, (_, i) => i);
          const generation = new AutoregressiveGeneration(model, {
            settings: autoregressiveSettings({ guidanceScale: item.guidanceScale }),
            noise: philoxTokenNoise(1),
            images,
            condition: (some, guided) =>
              model.conditionOn(
                T.tensor(
                  some.map((image) => image % item.config.numClasses),
                  'int64',
                ),
                guided,
              ),
            slots: item.batch,
            graphs,
          });
          ({ cacheBytes } = generation);
          while (!generation.isDone) for (const { tokens } of generation.step()) tokens.dispose();
          generation.dispose();
        });
        forgetGraph(model);
        return { ...result, cacheBytes };
      });
    }
  },

  train(item) {
    report('ours', item, () => {
      dropCached();
      const training = trainingOf(item);
      try {
        for (const batch of item.batches) {
          const rows = training.rows(batch);
          try {
            const result = timed(() => training.step(rows), 2);
            return { ...result, batch, flops: item.flops * batch };
          } catch (error) {
            if (!NO_MEMORY.test(error.message) || batch === item.batches.at(-1)) throw error;
            training.clear();
          } finally {
            for (const owned of Object.values(rows)) owned.dispose();
            T.emptyCache();
          }
        }
      } finally {
        training.dispose();
      }
    });
  },

  vq(item) {
    report('ours', item, () => {
      const vq = initialise((p) => new LlamaGenVq(vqPreset(device === 'cpu' ? 'vq-small' : 'llamagen-vq16'), p));
      const images = T.rand([item.batch, 3, item.size, item.size], { device: vq.device });
      const tokens = noGrad(() => vq.encode(images));
      const run = () => noGrad(() => scope(() => void (item.way === 'encode' ? vq.encode(images) : vq.decode(tokens))));
      const flops = 2 * T.countMacs(run).macs;
      const result = timed(run);
      for (const owned of [vq, images, tokens]) owned.dispose();
      return { ...result, flops };
    });
  },

  overhead(item) {
    report('ours', item, () => {
      const one = T.ones([1], { device: device === 'cpu' ? 'cpu' : 'cuda:0' });
      const chain = () =>
        noGrad(() =>
          scope(() => {
            let x = one;
            for (let i = 0; i < item.chain; i++) x = x.add(one);
          }),
        );
      const { seconds, low, high } = timed(chain);
      one.dispose();
      return { seconds: seconds / item.chain, low: low / item.chain, high: high / item.chain };
    });
  },

  /** What the machine gives at best: the floors are counted with these. */
  ceilings(item) {
    report('ours', item, () => {
      const where = { device: device === 'cpu' ? 'cpu' : 'cuda:0' };
      if (item.side !== undefined) {
        const { side } = item;
        const [a, b] = [0, 1].map(() => T.keep(scope(() => T.randn([side, side], where).to('bfloat16'))));
        const result = timed(() => scope(() => void a.matmul(b)));
        for (const owned of [a, b]) owned.dispose();
        return { ...result, flopsPerSecond: (2 * side ** 3) / result.seconds };
      }
      const count = item.megabytes * 2 ** 18;
      const [from, to] = [0, 1].map(() => T.randn([count], where));
      const result = timed(() => scope(() => void to.copy_(from)));
      for (const owned of [from, to]) owned.dispose();
      return { ...result, bytesPerSecond: (8 * count) / result.seconds };
    });
  },
};

/** Loss in bf16, backward, fused AdamW, moving average: what a step of the training loop is made of. */
function trainingOf(item) {
  const { family, config, masked } = item;
  const model = network(item, 'float32').trainable();
  const average = network(item, 'float32');
  const optimizer = new AdamW(model.parameters, { betas: [0.9, 0.99], weightDecay: 0.03 });
  const ema = new Ema(average.state, model);
  const where = { device: model.device, dtype: 'int64' };
  const length = config.gridSize ** 2;
  const rows = (batch) => ({
    tokens: T.randint(0, config.codebookSize, [batch, length], where),
    labels: T.randint(0, config.numClasses, [batch], where),
    order: scope(() => T.keep(T.rand([batch, length], { device: model.device }).argsort(1))),
  });
  const lossOf = ({ tokens, labels, order }) => {
    if (family === 'enat') {
      const dropout = { probability: 0.1 };
      return enatLoss(model, { tokens, labels, order, maskCount: masked, labelSmoothing: 0.1, dropout }).loss;
    }
    if (family === 'gpt') {
      return gptLoss(model, { tokens, condition: model.embedClasses(labels), patchSide: 1, training: true }).loss;
    }
    const starts = T.arange(0, tokens.size(0), 1, { device: model.device }).mul(length).unsqueeze(1);
    const places = order.narrow(1, 0, masked).add(starts).flatten();
    const flat = tokens.flatten();
    return autonatLoss(model, {
      ids: flat.scatterValue(0, places, model.maskToken).viewAs(tokens),
      labels,
      masked: places,
      targets: flat.indexSelect(0, places),
      labelSmoothing: 0.1,
      dropout: { probability: 0.1 },
    }).loss;
  };
  return {
    rows,
    clear: () => model.clearGradients(),
    step: (batch) =>
      scope(() => {
        T.autocast({ device, dtype: 'bfloat16' }, () => lossOf(batch)).backward();
        optimizer.step(1e-4);
        ema.update(0.999);
        model.clearGradients();
      }),
    dispose: () => {
      optimizer.dispose();
      for (const owned of [model, average]) owned.dispose();
    },
  };
}

const [part] = process.argv.slice(2);
for (const item of casesOf(part)) RUNS[part](item);
dropCached();
