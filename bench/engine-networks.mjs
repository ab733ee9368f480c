// What networks are made of, in plain operations, so that engine.py can do the very same in PyTorch: a transformer block
// (width 512, 8 heads, 256 tokens, batch 4), a residual block of a VQ encoder (128 channels, 64 px, batch 4), and a fused
// AdamW step of 32 matrices of a million entries.

import {
  conv2d,
  fusedAdamw_,
  gelu,
  groupNorm,
  layerNorm,
  linear,
  noGrad,
  randn,
  scaledDotProductAttention,
  scope,
  silu,
  tensor,
  zeros,
} from '@tessera/torch';

const BATCH = 4;
const TOKENS = 256;
const WIDTH = 512;
const HEADS = 8;
const CHANNELS = 128;
const SIDE = 64;
const MATRICES = 32;

const milliseconds = (seconds) => seconds * 1e3;

export function networkCases() {
  return [...blockCases(), residualCase(), adamwCase()];
}

function blockCases() {
  const weight = (rows, columns) => randn([rows, columns]).mul_(0.02).requiresGrad_();
  const qkv = weight(3 * WIDTH, WIDTH);
  const out = weight(WIDTH, WIDTH);
  const up = weight(4 * WIDTH, WIDTH);
  const down = weight(WIDTH, 4 * WIDTH);
  const x = randn([BATCH, TOKENS, WIDTH]);
  const norm = (h) => layerNorm(h, [WIDTH]);
  const block = () => {
    const [q, k, v] = linear(norm(x), qkv)
      .view([BATCH, TOKENS, 3, HEADS, WIDTH / HEADS])
      .permute([2, 0, 3, 1, 4])
      .unbind(0);
    const merged = scaledDotProductAttention(q, k, v).transpose(1, 2).reshape([BATCH, TOKENS, WIDTH]);
    const h = x.add(linear(merged, out));
    return h.add(linear(gelu(linear(norm(h), up)), down));
  };
  const weights = [qkv, out, up, down];
  const clear = () => {
    for (const parameter of weights) parameter.grad = undefined;
  };
  return [
    { name: 'ViT block, forward', run: () => noGrad(() => scope(() => void block())) },
    {
      name: 'ViT block, forward and backward',
      run: () => {
        scope(() => block().sum().backward());
        clear();
      },
    },
  ].map((row) => ({ ...row, unit: 'ms', value: milliseconds }));
}

function residualCase() {
  const [a, b] = [0, 1].map(() => randn([CHANNELS, CHANNELS, 3, 3]).mul_(0.02));
  const x = randn([BATCH, CHANNELS, SIDE, SIDE]);
  const half = (h, weight) => conv2d(silu(groupNorm(h, 32)), weight, undefined, [1, 1], [1, 1]);
  const run = () => noGrad(() => scope(() => void x.add(half(half(x, a), b))));
  return { name: 'VQ encoder block, forward', unit: 'ms', value: milliseconds, run };
}

function adamwCase() {
  const make = () => Array.from({ length: MATRICES }, () => randn([1024, 1024]));
  const [parameters, gradients, expAvgs] = [make(), make(), make()];
  const expAvgSqs = make().map((matrix) => matrix.square_());
  const steps = parameters.map(() => zeros([]));
  const one = tensor(1);
  const settings = { lr: 1e-4, beta1: 0.9, beta2: 0.999, weightDecay: 0.01, eps: 1e-8 };
  const run = () =>
    noGrad(() => {
      for (const step of steps) scope(() => void step.add_(one));
      fusedAdamw_(parameters, gradients, expAvgs, expAvgSqs, [], steps, settings);
    });
  return { name: 'AdamW step, 33.5 M parameters', unit: 'ms', value: milliseconds, run };
}
