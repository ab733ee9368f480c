import { expect, test } from 'vitest';
import { type FleetSpeeds, fitLink, fitMachine, stepCost, type TrainingWork } from './step-cost.ts';

/** Round numbers, so that every term is worked out by hand. */
const WORK: TrainingWork = { parameters: 1e9, tensors: 100, macs: 1e12 };
const FLEET: FleetSpeeds = {
  macsPerSecond: 1e14,
  memoryBytesPerSecond: 1e12,
  ranksPerMachine: 8,
  inside: { bytesPerSecond: 1e11, startSeconds: 0 },
  between: { bytesPerSecond: 1e10, startSeconds: 0 },
  hidden: 0.75,
  rowsPerSecond: 1e4,
  checkpointBytesPerSecond: 1e9,
};
const SETUP = { globalBatch: 512, sharding: 'none', checkpointEvery: 100 } as const;

test('one rank computes, moves weights, reads and writes, and sends nothing', () => {
  const cost = stepCost(WORK, FLEET, { ...SETUP, ranks: 1 });
  expect(cost.compute).toBeCloseTo((3 * 512 * 1e12) / 1e14, 10);
  expect([cost.exchange, cost.visibleExchange]).toEqual([0, 0]);
  expect(cost.optimizer).toBeCloseTo(40e9 / 1e12, 10);
  expect(cost.input).toBeCloseTo(512 / 1e4, 10);
  expect(cost.checkpoint).toBeCloseTo(16e9 / 1e9 / 100, 10);
  expect(cost.total).toBeCloseTo(15.36 + 0.04 + 0.0512 + 0.16, 10);
  expect(cost.imagesPerSecond).toBeCloseTo(512 / cost.total, 10);
});

test('an all-reduce goes round inside the machines and between them', () => {
  const inside = stepCost(WORK, FLEET, { ...SETUP, ranks: 8 });
  expect(inside.exchange).toBeCloseTo((2 * (7 / 8) * 4e9) / 1e11, 10);
  const both = stepCost(WORK, FLEET, { ...SETUP, ranks: 64 });
  expect(both.exchange).toBeCloseTo((2 * (7 / 8) * 4e9) / 1e11 + (2 * (7 / 8) * 4e9) / 1e10, 10);
  // 8 images a rank: 0.16 s of backward pass hide no more than that.
  expect(both.visibleExchange).toBeCloseTo(both.exchange - 0.16, 10);
  // With 64 a rank they hide what can be hidden: of all but the last bucket, three quarters.
  const longer = stepCost(WORK, FLEET, { ...SETUP, ranks: 64, globalBatch: 4096 });
  const last = (25 * 2 ** 20) / 4e9;
  expect(longer.visibleExchange / longer.exchange).toBeCloseTo(last + (1 - last) / 4, 10);
  // A network of one bucket hides nothing.
  const small = stepCost({ ...WORK, parameters: 6e6 }, FLEET, { ...SETUP, ranks: 64 });
  expect(small.visibleExchange).toBeCloseTo(small.exchange, 10);
});

test('shares of the moments save their update and a part of the checkpoint, and cost a broadcast', () => {
  const plain = stepCost(WORK, FLEET, { ...SETUP, ranks: 64 });
  const shares = stepCost(WORK, FLEET, { ...SETUP, ranks: 64, sharding: 'optimizer' });
  expect(shares.exchange / plain.exchange).toBeCloseTo(1.5, 10);
  expect(shares.visibleExchange - plain.visibleExchange).toBeCloseTo(plain.exchange / 2, 10);
  expect(shares.optimizer).toBeCloseTo((28e9 / 64 + 12e9) / 1e12, 10);
  expect(shares.checkpoint).toBeCloseTo((8e9 + 1e9) / 1e9 / 100, 10);
});

test('pieces are recomputed, gathered twice and scattered, for each shard; every message costs its start', () => {
  const pieces = { ...SETUP, ranks: 64, sharding: 'parameters' } as const;
  const cost = stepCost(WORK, FLEET, pieces);
  expect(cost.compute).toBeCloseTo((4 * 8 * 1e12) / 1e14, 10);
  expect(cost.exchange).toBeCloseTo(3 * (7 / 8) * (4e9 / 1e11 + 4e9 / 1e10), 10);
  expect(stepCost(WORK, FLEET, { ...pieces, shardsPerRank: 4 }).exchange / cost.exchange).toBeCloseTo(4, 10);
  expect(cost.optimizer).toBeCloseTo(40e9 / 64 / 1e12, 10);
  expect(cost.checkpoint).toBeCloseTo(16e9 / 8 / 1e9 / 100, 10);
  const slow = { bytesPerSecond: 1e10, startSeconds: 1e-4 };
  const late = stepCost(WORK, { ...FLEET, between: slow }, pieces);
  // Eight machines: three rounds of a tree.
  expect(late.exchange - cost.exchange).toBeCloseTo(300 * 3 * 1e-4, 10);
});

test('a link is found again from times on it, also where starts cost nothing', () => {
  const times = (start: number) => [1e6, 4e6, 64e6].map((bytes) => ({ bytes, seconds: 2 * start + bytes / 5e8 }));
  expect(fitLink(times(1e-3)).bytesPerSecond).toBeCloseTo(5e8, -2);
  expect(fitLink(times(1e-3)).startSeconds).toBeCloseTo(1e-3, 9);
  expect(fitLink(times(-1e-4)).startSeconds).toBe(0);
});

test('a machine is found again from what it would measure', () => {
  const rest = { memoryBytesPerSecond: 1e10, rowsPerSecond: 1e4, hidden: 0.5 };
  const [macs, parameters, batch] = [1e8, 4e6, 32];
  const truth: FleetSpeeds = {
    ...{ ...FLEET, ...rest, macsPerSecond: 2e10, ranksPerMachine: 2 },
    inside: { bytesPerSecond: 5e8, startSeconds: 1e-4 },
  };
  const optimizer = (28 * parameters) / 1e10;
  const fitted = fitMachine(
    {
      steps: { processor: { alone: (3 * macs * 32) / 2e10 + optimizer }, batch, parameters },
      allReduce: [1, 8].map((mebibytes) => ({ mebibytes, seconds: 2e-4 + (mebibytes * 2 ** 20) / 5e8 })),
      checkpoint: { bytes: 1e9, write: 1 },
    },
    macs,
    rest,
  );
  for (const key of ['macsPerSecond', 'hidden', 'checkpointBytesPerSecond'] as const) {
    expect(fitted[key] / truth[key]).toBeCloseTo(1, 6);
  }
  expect(fitted.inside.bytesPerSecond / 5e8).toBeCloseTo(1, 6);
});
