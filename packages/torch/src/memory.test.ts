/** Ten thousand training steps: one scope a step keeps tensors, bytes and resident memory flat. */

import { expect, test } from 'vitest';
import {
  crossEntropyLoss,
  fusedAdamw_,
  gelu,
  keep,
  linear,
  manualSeed,
  memoryStats,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
  zerosLike,
} from './index.ts';

const STEPS = 10_000;
const WARM_UP = 2_000;
const MEBIBYTE = 2 ** 20;

test('10,000 training steps leave memory flat, and learn', { timeout: 180_000 }, () => {
  manualSeed(1);
  const shapes = [[32, 8], [32], [4, 32], [4]];
  const parameters = shapes.map((shape) => keep(scope(() => randn(shape).mul(0.2).requiresGrad_(false))));
  const means = parameters.map((parameter) => keep(zerosLike(parameter)));
  const squares = parameters.map((parameter) => keep(zerosLike(parameter)));
  const counts = parameters.map(() => keep(zeros([])));
  for (const parameter of parameters) parameter.requiresGrad_();

  const step = (k: number): number =>
    scope(() => {
      const labels = Array.from({ length: 16 }, (_, row) => (row * 7 + k) % 4);
      const inputs = tensor(labels.map((label) => Array.from({ length: 8 }, (_, c) => (c % 4 === label ? 1 : 0.1))));
      const [w1, b1, w2, b2] = parameters as [Tensor, Tensor, Tensor, Tensor];
      const loss = crossEntropyLoss(linear(gelu(linear(inputs, w1, b1)), w2, b2), tensor(labels, 'int64'));
      loss.backward();
      noGrad(() => {
        for (const count of counts) count.add_(1);
        const gradients = parameters.map((parameter) => parameter.grad!);
        const settings = { lr: 1e-3, beta1: 0.9, beta2: 0.99, weightDecay: 0.01, eps: 1e-8 };
        fusedAdamw_(parameters, gradients, means, squares, [], counts, settings);
      });
      for (const parameter of parameters) parameter.grad = undefined;
      return loss.item();
    });

  const first = step(0);
  let last = first;
  const marks: { live: { liveTensors: number; liveBytes: number }; resident: number }[] = [];
  for (let k = 1; k <= STEPS; k++) {
    last = step(k);
    // Resident memory without JavaScript's own heap, which grows and shrinks as its collector likes.
    if (k === WARM_UP || k === STEPS) {
      const { rss, heapTotal } = process.memoryUsage();
      marks.push({ live: memoryStats(), resident: rss - heapTotal });
    }
  }
  expect(last).toBeLessThan(first / 10);
  expect(marks[1]!.live).toEqual(marks[0]!.live);
  expect(marks[1]!.live.liveTensors).toBe(16);
  expect((marks[1]!.resident - marks[0]!.resident) / MEBIBYTE).toBeLessThan(8);
  for (const x of [...parameters, ...means, ...squares, ...counts]) x.dispose();
  expect(memoryStats()).toEqual({ liveTensors: 0, liveBytes: 0, bytesByDevice: {} });
});

test('4 GB of tensors pass through scopes of 4 MB', () => {
  const before = process.memoryUsage().rss;
  for (let k = 0; k < 1000; k++) {
    scope(() => {
      zeros([2 ** 20]);
    });
  }
  expect((process.memoryUsage().rss - before) / MEBIBYTE).toBeLessThan(64);
});
