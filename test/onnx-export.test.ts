/**
 * Whole networks as ONNX graphs: recorded at a few sizes, run by onnxruntime-web (WebAssembly, under Node) at a size
 * that was no probe, equal to the network itself.
 */

import { encodeOnnx, type OnnxModel } from '@tessera/formats';
import {
  cat,
  fromTypedArray,
  manualSeed,
  noGrad,
  type Recording,
  randn,
  recordOnnx,
  type Sizes,
  scope,
  type Tensor,
} from '@tessera/torch';
import * as ort from 'onnxruntime-web';
import { Enat, enatConfigSchema, initialise, LlamaGenVq, type Module, vqPreset } from 'tessera';
import { afterAll, expect, test } from 'vitest';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

const modules: Module[] = [];
afterAll(() => {
  for (const module of modules) module.dispose();
});

const GRID = 4;
const CODES = 32;
const enat = made(
  initialise((p) => new Enat(enatConfigSchema.parse({ gridSize: GRID, codebookSize: CODES, numClasses: 3, embedDim: 24, encoderDepth: 2, decoderDepth: 2, numHeads: 2 }), p)), // biome-ignore format: one row
);

/** Seeded, away from initial values that make every block the identity and every class the same. */
function made<M extends Module>(module: M): M {
  manualSeed(1);
  noGrad(() =>
    scope(() => {
      for (const tensor of module.state.values()) tensor.add_(tensor.randnLike().mul(0.1));
    }),
  );
  modules.push(module);
  return module;
}

/** Whole numbers in [0, below), int64. */
function integers(shape: readonly number[], below: number): Tensor {
  const count = shape.reduce((product, side) => product * side, 1);
  return fromTypedArray(
    BigInt64Array.from({ length: count }, (_, i) => BigInt((i * 11 + 5) % below)),
    shape,
  );
}

async function expectSame(recording: Recording, sizes: Sizes): Promise<OnnxModel> {
  const model = recordOnnx(recording);
  expect(recording.probes).not.toContainEqual(sizes);
  const session = await ort.InferenceSession.create(encodeOnnx(model), { executionProviders: ['wasm'] });
  const [feeds, expected] = noGrad(() =>
    scope(() => {
      const inputs = recording.inputs(sizes);
      const feeds = Object.entries(inputs).map(([name, x]) => [name, new ort.Tensor(x.dtype as 'float32', x.toTypedArray() as Float32Array, x.shape)] as const); // biome-ignore format: one row
      const outputs = Object.entries(recording.run(inputs, sizes));
      return [feeds, outputs.map(([name, x]) => [name, x.shape, x.toNumbers()] as const)];
    }),
  );
  const results = await session.run(Object.fromEntries(feeds));
  await session.release();
  for (const [name, shape, values] of expected) {
    expect(results[name]!.dims).toEqual(shape);
    const got = Array.from(results[name]!.data as ArrayLike<number | bigint>, Number);
    const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i]!)), 0);
    expect(worst, `largest difference of ${name}`).toBeLessThan(1e-4);
    // A graph that gave constants would pass where the network does.
    expect(Math.max(...values) - Math.min(...values)).toBeGreaterThan(0.01);
  }
  return model;
}

test('an ENAT block, recorded at three sizes', async () => {
  const recording: Recording = {
    name: 'block',
    probes: [{ N: 2 }, { N: 3 }, { N: 7 }],
    constants: enat.state,
    inputs: ({ N }) => ({ x: randn([2, N!, 24]), foreign: randn([2, 2 * N! + 1, 24]), labels: integers([2], 3) }),
    run: ({ x, foreign, labels }) => ({ y: enat.runBlock(3, x!, enat.condition(labels!), foreign!) }),
  };
  const { graph } = await expectSame(recording, { N: 5 });
  expect(graph.inputs.map(({ shape }) => shape)).toEqual([[2, 'N', 24], [2, '2*N+1', 24], [2]]); // biome-ignore format: one row
  expect([...graph.initializers.keys()]).toEqual(
    expect.arrayContaining(['blocks.3.attn.kv.A.weight', 'blocks.3.mlp.fc2.bias']),
  );
});

const ENAT_PROBES = [
  { B: 1, F: 2, M: 3 },
  { B: 2, F: 2, M: 3 },
  { B: 1, F: 5, M: 3 },
  { B: 1, F: 2, M: 7 },
  { B: 3, F: 4, M: 5 },
];

test('ENAT: the first step, where no token is visible', async () => {
  const recording: Recording = {
    name: 'enat-first',
    probes: [{ B: 1 }, { B: 2 }, { B: 5 }],
    constants: enat.state,
    inputs: ({ B }) => ({ masked: integers([B!, GRID ** 2], GRID ** 2), labels: integers([B!], 4) }),
    run: ({ masked, labels }) => {
      const output = enat.forward({ tokens: masked!, masked: masked!, conditioning: enat.condition(labels!) });
      return { logits: enat.head(output.masked) };
    },
  };
  const { graph } = await expectSame(recording, { B: 3 });
  expect(graph.outputs).toEqual([{ name: 'logits', dtype: 'float32', shape: ['B', 16, CODES] }]);
  // What no step uses is not in the file.
  expect([...graph.initializers.keys()].filter((name) => name.startsWith('prev_embedder'))).toEqual([]);
});

test('ENAT: a step that encodes fresh tokens', async () => {
  const recording: Recording = {
    name: 'enat',
    probes: ENAT_PROBES,
    constants: enat.state,
    inputs: ({ B, F, M }) => ({
      tokens: integers([B!, GRID ** 2], CODES),
      fresh: integers([B!, F!], GRID ** 2),
      masked: integers([B!, M!], GRID ** 2),
      labels: integers([B!], 4),
    }),
    run: ({ tokens, fresh, masked, labels }) => {
      const conditioning = enat.condition(labels!);
      const output = enat.forward({ tokens: tokens!, fresh: fresh!, masked: masked!, conditioning });
      return { logits: enat.head(output.masked), features: output.state!.features };
    },
  };
  const { graph } = await expectSame(recording, { B: 2, F: 6, M: 4 });
  expect(graph.outputs.map(({ shape }) => shape)).toEqual([['B', 'M', CODES], ['B', 'F', 24]]); // biome-ignore format: one row
});

test('ENAT: a step that reuses the features of earlier ones', async () => {
  const recording: Recording = {
    name: 'enat-reuse',
    probes: [...ENAT_PROBES.map((sizes) => ({ ...sizes, R: 2 })), { B: 1, F: 2, M: 3, R: 6 }],
    constants: enat.state,
    inputs: ({ B, F, M, R }) => ({
      tokens: integers([B!, GRID ** 2], CODES),
      fresh: integers([B!, F!], GRID ** 2),
      masked: integers([B!, M!], GRID ** 2),
      oldPositions: integers([B!, R!], GRID ** 2),
      oldFeatures: randn([B!, R!, 24]),
      labels: integers([B!], 4),
    }),
    run: ({ tokens, fresh, masked, oldPositions, oldFeatures, labels }) => {
      const output = enat.forward({
        tokens: tokens!,
        fresh: fresh!,
        masked: masked!,
        reused: { positions: oldPositions!, features: oldFeatures! },
        conditioning: enat.condition(labels!),
      });
      return { logits: enat.head(output.masked), features: output.state!.features, positions: output.state!.positions };
    },
  };
  const { graph } = await expectSame(recording, { B: 2, F: 3, M: 4, R: 5 });
  expect(graph.outputs[1]!.shape).toEqual(['B', 'F+R', 24]);
});

const SMALL = { channels: 8, channelMultipliers: [1, 2, 2], latentChannels: 16, codebookSize: CODES, codeDim: 4, encoderResBlocks: 1, decoderResBlocks: 1, groupNormGroups: 4, usageFifo: 0 }; // biome-ignore format: one row

test.each([
  ['unit codes and attention', { l2Norm: true, deepestAttention: true, middleAttention: true }],
  ['plain codes', { l2Norm: false, deepestAttention: false, middleAttention: false }],
])('the VQ decoder, %s, recorded at three numbers of rows', async (_, changes) => {
  const vq = made(initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq16', { ...SMALL, ...changes }), p)));
  const recording: Recording = {
    name: 'vq-decoder',
    probes: [{ y: 2 }, { y: 3 }, { y: 5 }],
    constants: vq.state,
    inputs: ({ y }) => ({ tokens: integers([2, 3 * y!], CODES) }),
    run: ({ tokens }, { y }) => ({ images: vq.decode(tokens!, [y!, 3]) }),
  };
  const { graph } = await expectSame(recording, { y: 4 });
  expect(graph.inputs[0]!.shape).toEqual([2, '3*y']);
  expect(graph.outputs[0]!.shape).toEqual([2, 3, '4*y', 12]);
});

test('the VQ decoder and encoder of square pictures, recorded at three batches', async () => {
  const vq = made(initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq16', SMALL), p)));
  const probes = [{ B: 1 }, { B: 2 }, { B: 4 }];
  const decoder: Recording = {
    name: 'vq-decoder',
    probes,
    constants: vq.state,
    inputs: ({ B }) => ({ tokens: integers([B!, GRID ** 2], CODES) }),
    run: ({ tokens }) => ({ images: vq.decode(tokens!) }),
  };
  expect((await expectSame(decoder, { B: 3 })).graph.outputs[0]!.shape).toEqual(['B', 3, 16, 16]);
  const encoder: Recording = {
    name: 'vq-encoder',
    probes,
    constants: vq.state,
    inputs: ({ B }) => ({ images: cat(Array.from({ length: B! }, (_, i) => randn([1, 3, 16, 16]).mul(0.2 * (i + 1)))).sigmoid() }), // biome-ignore format: one row
    run: ({ images }) => ({ tokens: vq.encode(images!) }),
  };
  expect((await expectSame(encoder, { B: 3 })).graph.outputs[0]!.dtype).toBe('int64');
});
