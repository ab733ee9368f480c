/** Averaged gradients of two processes equal those of one process over both halves of the data. */

import { afterEach, expect, it } from 'vitest';
import { killRanks, runRanks } from './spawn-ranks.test-support.ts';

afterEach(killRanks);

it('gives both ranks the mean of their gradients, with and without unused parameters', {
  timeout: 60_000,
}, async () => {
  const ended = await runRanks(
    `
    const group = await T.initProcessGroup({ timeoutMs: 30_000 });
    const weights = [0, 1, 2, 3].map((k) => T.tensor([k + 1, rank * 100]).requiresGrad_());
    T.noGrad(() => T.broadcastTensors(group, weights));
    const reducer = new T.DataParallelReducer(group, weights, { findUnusedParameters: true, bucketBytes: 16, firstBucketBytes: 8 });
    say(reducer.bucketSizes);
    // The gradient of weight k is scale·(step + 1)·(rank + 1) where it is used.
    const loss = (used, step) => {
      const sums = used.map((k) => weights[k].sum());
      return sums.reduce((a, b) => a.add(b)).mul((step + 1) * (rank + 1));
    };
    const grads = () => weights.map((weight) => weight.grad?.toNumbers()[0] ?? null);
    const clear = () => { for (const weight of weights) weight.grad = undefined; };
    const live = [];
    const plans = [[[0, 1, 2, 3], [0, 1, 2, 3]], [[0, 1, 3], [0, 1, 2, 3]], [[0, 3], [0, 3]], [[1], [2]], [[0, 1, 2, 3], [0, 1, 2, 3]]];
    for (const [step, plan] of plans.entries()) {
      T.scope(() => reducer.backward(loss(plan[rank], step)));
      say(T.scope(grads));
      clear();
      live.push(T.memoryStats().liveTensors);
    }
    // Accumulation: two passes alone, the third one synchronises the sum.
    T.scope(() => {
      reducer.noSync(() => { reducer.backward(loss([0], 0)); reducer.backward(loss([0, 1], 0)); });
      say(grads());
      const last = loss([0, 1, 2, 3], 0);
      reducer.prepareForBackward([last]);
      last.backward();
      say(grads());
    });
    say(new Set(live).size);
    reducer.dispose();
    clear();
    T.scope(() => { loss([0, 1, 2, 3], 0).backward(); say(grads()); });
    try { reducer.prepareForBackward(weights[0]); } catch (error) { say(error.message); }
    const other = [T.ones([rank + 1]).requiresGrad_()];
    try { new T.DataParallelReducer(group, other); } catch (error) { say(tell(error)); }
    try { new T.DataParallelReducer(group, [T.ones([1])]); } catch (error) { say(error.code); }
    await T.destroyProcessGroup();
    `,
    2,
  );
  const [first, second] = ended.map(({ end, stderr, said }) => {
    expect({ end, stderr }).toEqual({ end: 0, stderr: '' });
    return said;
  });
  // 32 bytes of parameters in a first bucket of 8 bytes and others of 16.
  expect((first![0] as number[]).reduce((a, b) => a + b)).toBe(32);
  expect((first![0] as number[]).length).toBeGreaterThan(1);
  const common = [
    [1.5, 1.5, 1.5, 1.5],
    [3, 3, 2, 3], // rank 1 alone uses weight 2: (0 + 4) / 2
    [4.5, null, null, 4.5],
    [null, 2, 4, null], // rank 0 uses one, rank 1 another
    [7.5, 7.5, 7.5, 7.5],
  ];
  for (const said of [first!, second!]) expect(said.slice(1, 6)).toEqual(common);
  expect([first![6], second![6]]).toEqual([
    [2, 1, null, null],
    [4, 2, null, null],
  ]);
  for (const said of [first!, second!]) expect(said.slice(7, 9)).toEqual([[4.5, 3, 1.5, 1.5], 1]);
  expect([first![9], second![9]]).toEqual([
    [1, 1, 1, 1],
    [2, 2, 2, 2],
  ]);
  expect(first![11]).toMatchObject({ code: 'RANKS_DISAGREE', ranks: [1] });
  expect(first![12]).toBe('ARGUMENT');
});

it('equals one process on the whole batch', { timeout: 60_000 }, async () => {
  const network = `
    const weightA = T.linspace(-1, 1, 12).reshape([4, 3]).requiresGrad_();
    const weightB = T.linspace(1, -1, 8).reshape([2, 4]).requiresGrad_();
    const loss = (rows) => T.crossEntropyLoss(T.relu(T.linspace(-2, 2, 24).reshape([8, 3]).slice(0, ...rows).matmul(weightA.t())).matmul(weightB.t()), T.tensor([0, 1, 1, 0, 1, 0, 0, 1], 'int64').slice(0, ...rows));
  `;
  const ended = await runRanks(
    `
    ${network}
    const group = await T.initProcessGroup({ timeoutMs: 30_000 });
    const reducer = new T.DataParallelReducer(group, [weightA, weightB]);
    for (let step = 0; step < 3; step++) {
      weightA.grad = weightB.grad = undefined;
      T.scope(() => reducer.backward(loss([4 * rank, 4 * rank + 4])));
    }
    const averaged = [...weightA.grad.toNumbers(), ...weightB.grad.toNumbers()];
    reducer.dispose();
    weightA.grad = weightB.grad = undefined;
    T.scope(() => loss([0, 8]).backward());
    say([averaged, [...weightA.grad.toNumbers(), ...weightB.grad.toNumbers()]]);
    await T.destroyProcessGroup();
    `,
    2,
  );
  for (const { end, stderr, said } of ended) {
    expect({ end, stderr }).toEqual({ end: 0, stderr: '' });
    const [averaged, whole] = said[0] as [number[], number[]];
    expect(Math.max(...whole.map(Math.abs))).toBeGreaterThan(0.05);
    // Sums of eight terms in another order: a few last bits of float32.
    for (const [k, value] of averaged.entries()) expect(Math.abs(value - whole[k]!)).toBeLessThan(1e-6);
  }
});
