// Checks the CUDA half of @tessera/torch on a machine with a GPU: a line a check, exit code 1 when one fails. Written and
// compiled where there was no GPU.
//
//   node bench/gpu/check-engine.mjs

import * as T from '@tessera/torch';

if (!T.cudaIsAvailable()) {
  console.error('check-engine: no CUDA device, or an addon for the CPU (docs/setup.md)');
  process.exit(1);
}

let failures = 0;

/** Runs one check; it fails by throwing. */
async function check(name, body) {
  try {
    const note = await body();
    console.log(`ok    ${name}${note === undefined ? '' : `: ${note}`}`);
  } catch (error) {
    failures++;
    console.log(`FAIL  ${name}: ${error.message.split('\n')[0]}`);
  }
}

function equal(got, expected, what = 'value') {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${b.slice(0, 80)}, got ${a.slice(0, 80)}`);
}

function near(got, expected, tolerance) {
  const worst = Math.max(...got.map((value, k) => Math.abs(value - expected[k])));
  if (!(worst <= tolerance)) throw new Error(`largest difference ${worst}, allowed ${tolerance}`);
  return `largest difference ${worst.toExponential(1)}`;
}

await check('device', () => {
  T.setDevice(0);
  const { name, capability, totalBytes } = T.deviceProperties(0);
  equal(T.currentDevice(), 0);
  return `${name}, ${capability.join('.')}, ${(totalBytes / 2 ** 30).toFixed(0)} GiB, libtorch ${T.torchVersion()}`;
});

await check('matrix product, float32 without TF32', () =>
  T.scope(() => {
    T.manualSeed(1);
    const [a, b] = [T.randn([256, 256]), T.randn([256, 256])];
    const product = a.to('cuda:0').matmul(b.to('cuda:0'));
    return near(product.to('cpu').toNumbers(), a.matmul(b).toNumbers(), 1e-3);
  }),
);

await check('noise: the bits of the CPU', () =>
  T.scope(() => {
    const images = T.tensor([0, 7, 2 ** 32 - 1], 'int64');
    const positions = T.tensor([[0, 255], [5, 5], [2 ** 32 - 1, 1]], 'int64'); // biome-ignore format: a row an image
    for (const seed of [0, 1, 2 ** 31, 2 ** 32, 1234567890123, Number.MAX_SAFE_INTEGER]) {
      for (const numCodes of [1, 3, 64, 1023, 16384]) {
        const onCpu = T.exponentialNoise(images, positions, numCodes, { seed, step: 65535 });
        const onGpu = T.exponentialNoise(images.to('cuda:0'), positions.to('cuda:0'), numCodes, { seed, step: 65535 });
        equal(onGpu.device, 'cuda:0', 'device');
        equal(
          Buffer.compare(onGpu.toBytes(), onCpu.toBytes()),
          0,
          `bytes of Exp(1) noise, seed ${seed}, ${numCodes} codes`,
        );
      }
      const onCpu = T.gumbelNoise(images, 4096, { seed, step: 3 });
      const onGpu = T.gumbelNoise(images.to('cuda:0'), 4096, { seed, step: 3 });
      equal(Buffer.compare(onGpu.toBytes(), onCpu.toBytes()), 0, `bytes of Gumbel noise, seed ${seed}`);
    }
  }),
);

await check('autocast', () =>
  T.scope(() => {
    const x = T.ones([8, 8], { device: 'cuda:0' });
    for (const dtype of ['bfloat16', 'float16']) {
      equal(
        T.autocast({ device: 'cuda', dtype }, () => x.matmul(x).dtype),
        dtype,
      );
    }
    equal(x.matmul(x).dtype, 'float32');
  }),
);

await check('gradient scaler', () =>
  T.scope(() => {
    const scaler = new T.GradScaler({ device: 'cuda:0', initialScale: 8, growthInterval: 1 });
    const gradient = T.tensor([16, 24]).to('cuda:0');
    equal(scaler.unscale_([gradient]), true);
    equal(gradient.toNumbers(), [2, 3]);
    scaler.update();
    equal(scaler.state(), { scale: 16, growthTracker: 0 });
    equal(scaler.unscale_([T.tensor([Number.POSITIVE_INFINITY]).to('cuda:0')]), false);
    scaler.dispose();
  }),
);

await check('fused AdamW and foreach EMA', () =>
  T.scope(() => {
    const on = (values) => T.tensor(values).to('cuda:0');
    const [weight, average] = [on([1, 1]), on([0, 0])];
    const how = { lr: 0.1, beta1: 0.9, beta2: 0.99, weightDecay: 0, eps: 1e-8 };
    T.fusedAdamw_([weight], [on([3, -2])], [on([0, 0])], [on([0, 0])], [], [on(1)], how);
    T.foreachLerp_([average], [weight], 0.5);
    return near(average.toNumbers(), [0.45, 0.55], 1e-6);
  }),
);

await check('pinned transfers, streams, events', () => {
  const [side, other] = [new T.CudaStream(), new T.CudaStream()];
  const [start, end] = [new T.CudaEvent({ timing: true }), new T.CudaEvent({ timing: true })];
  const last = 2 ** 24 - 1; // 64 MiB: a copy of a millisecond, which a stream that does not wait would overtake
  T.scope(() => {
    const host = T.pinMemory(T.arange(0, last + 1, 1, { dtype: 'float32' }));
    equal(T.isPinned(host), true);
    const copy = side.run(() => {
      start.record(side);
      const copy = T.toAsync(host, 'cuda:0');
      end.record(side);
      return copy;
    });
    // No stream waits for a side stream by itself, the default one neither: another waits where it is told to …
    other.waitFor(end);
    other.recordUse(copy);
    const doubled = other.run(() => copy.select(0, last).mul(2));
    other.synchronize();
    equal(doubled.item(), 2 * last, 'after the mark of another stream');
    // … and the host, after which the default stream may go on.
    end.synchronize();
    equal(end.isDone, true);
    equal(copy.add(0).select(0, last).item(), last);
  });
  const note = `64 MiB in ${start.elapsedMs(end).toFixed(2)} ms`;
  for (const thing of [side, other, start, end]) thing.dispose();
  return note;
});

await check('CUDA graph: captured and replayed', () => {
  const input = T.keep(T.tensor([1, 2]).to('cuda:0'));
  const graph = T.CudaGraph.capture(() => input.mul(input).add(1));
  for (const values of [
    [3, 4],
    [5, 6],
  ]) {
    // biome-ignore format: two runs
    T.scope(() => T.foreachCopy_([input], [T.tensor(values).to('cuda:0')]));
    equal(
      graph.replay().toNumbers(),
      values.map((value) => value * value + 1),
    );
  }
  graph.dispose();
  input.dispose();
});

await check('CUDA graphs in one memory', () => {
  const [input, sums] = [T.tensor([1, 2]), T.zeros([2])].map((tensor) => T.keep(tensor.to('cuda:0')));
  const step = (factor) => () => T.scope(() => void sums.add_(input.mul(factor)));
  const first = T.CudaGraph.capture(step(1));
  const second = T.CudaGraph.capture(step(10), { memoryOf: first });
  T.scope(() => void sums.zero_()); // warming up has added to them
  for (const graph of [second, first, second]) graph.replay();
  equal(sums.toNumbers(), [21, 42]);
  for (const owned of [first, second, input, sums]) owned.dispose();
});

await check('attention of one query over a part of a cache, bf16', () => {
  // As a GPT's step asks for it: keys are a view of a longer cache, shorter rows are masked by a term of -inf. Which kernel
  // takes it is libtorch's choice, which differs with the type, so no comparison in float32 says anything of it.
  let worst = 0;
  for (const [heads, width] of [
    [12, 64],
    [4, 64],
    [16, 72],
  ]) {
    for (const lengths of [
      [1, 64, 190, 192],
      [192, 192, 192, 192],
    ]) {
      T.scope(() => {
        T.manualSeed(heads);
        const make = (shape) => T.keep(T.randn(shape).to('cuda:0').to('bfloat16'));
        const owned = [make([4, heads, 1, width]), make([4, heads, 576, width]), make([4, heads, 576, width])];
        const filled = T.arange(0, 192).unsqueeze(0).lt(T.tensor(lengths).unsqueeze(1)).unsqueeze(1).unsqueeze(1);
        const added = T.zeros([4, 1, 1, 192]).maskedFill(filled.logicalNot(), Number.NEGATIVE_INFINITY);
        owned.push(T.keep(added.to('cuda:0').to('bfloat16')));
        const attend = ([q, keys, values], attnMask) =>
          T.scaledDotProductAttention(q, keys.narrow(2, 0, 192), values.narrow(2, 0, 192), { attnMask });
        const run = () => attend(owned, owned[3]);
        const exact = attend(owned.map((tensor) => tensor.to('cpu').to('float32')), added).toNumbers(); // biome-ignore format: one row
        const graph = T.CudaGraph.capture(run);
        for (const made of [run(), graph.replay()]) {
          const got = made.to('cpu').to('float32').toNumbers();
          worst = Math.max(worst, ...got.map((value, k) => Math.abs(value - exact[k])));
          if (!(worst <= 2e-2)) throw new Error(`${heads} heads of ${width}, ${lengths} keys: off by ${worst}`);
        }
        graph.dispose();
        for (const tensor of owned) tensor.dispose();
      });
    }
  }
  return `largest difference ${worst.toExponential(1)}`;
});

await check('memory statistics', () => {
  T.emptyCache();
  T.resetPeakMemory(0);
  const before = T.cudaMemoryStats(0);
  const tensor = T.empty([2 ** 20], { device: 'cuda:0' });
  const during = T.cudaMemoryStats(0);
  tensor.dispose();
  const after = T.cudaMemoryStats(0);
  equal([during.allocated - before.allocated, after.allocated - before.allocated], [2 ** 22, 0]);
  equal(after.peakAllocated >= during.allocated && after.reserved > 0, true);
});

await check('TF32 changes products', () =>
  T.scope(() => {
    const a = T.full([64, 64], 1 + 2 ** -12).to('cuda:0');
    const exact = a.matmul(a).select(0, 0).select(0, 0).item();
    T.setFloat32Precision('tf32');
    const rounded = a.matmul(a).select(0, 0).select(0, 0).item();
    T.setFloat32Precision('ieee');
    equal([rounded === 64, exact > 64], [true, true]);
  }),
);

await check('NCCL at world size 1', async () => {
  const group = await T.initProcessGroup({ worldSize: 1, rank: 0, timeoutMs: 60_000, backend: 'nccl' });
  const tensor = T.tensor([1, 2]).to('cuda:0');
  equal((await group.startAllReduce(tensor, { reduction: 'avg' }).finished()).toNumbers(), [1, 2]);
  equal(group.allGather(tensor).shape, [1, 2]);
  equal(group.allReduce(T.tensor([3])).toNumbers(), [3], 'Gloo beside it');
  const weight = T.tensor([1, 2]).to('cuda:0').requiresGrad_();
  const reducer = new T.DataParallelReducer(group, [weight], { findUnusedParameters: true });
  for (let step = 0; step < 3; step++) T.scope(() => reducer.backward(weight.mul(weight).sum()));
  equal(weight.grad.toNumbers(), [6, 12]);
  reducer.dispose();
  await T.destroyProcessGroup();
});

console.log(failures === 0 ? 'all checks passed' : `${failures} checks failed`);
process.exitCode = failures === 0 ? 0 : 1;
