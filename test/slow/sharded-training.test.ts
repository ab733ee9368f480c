// Training with shares of the optimizer's state, or pieces of every parameter, on each rank: the same training, the same
// checkpoints but for the files that hold them, less memory.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSafetensors, scope } from '@tessera/torch';
import { wholeFile } from 'tessera';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { expectMemoryOfPieces, expectMemoryOfShares, WIDE_GPT } from '../distributed/expect-memory.ts';
import { expectClose, expectSameTensors, expectSameTraining, metricsOf } from '../distributed/expect-same-training.ts';
import { killAll, startRanks, trainOn } from '../distributed/run-ranks.ts';

const LIMIT = { timeout: 600_000 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera sharded '));
});
afterEach(() => {
  killAll();
  rmSync(folder, { recursive: true });
});

const last = (run: string): string => join(run, 'checkpoints', readdirSync(join(run, 'checkpoints')).sort().at(-1)!);

test.each(['enat', 'autonat', 'gpt', 'vq'])('%s with a share of the moments on each rank', LIMIT, (family) =>
  expectSameTraining(family, [2, 4], { settings: { shardOptimizer: true, ema: [0.99, 0.9] } }),
);

test('a GPT in pieces', LIMIT, () =>
  expectSameTraining('gpt', [2, 4], { settings: { shardParameters: true, recompute: true, ema: [0.99, 0.9] } }),
);

test.each(['enat', 'vq'])(
  '%s with shares ends in the bits of the same ranks without, with fewer bytes',
  LIMIT,
  async (family) => {
    const settings = { totalSteps: 6, memory: true };
    const [whole, shares] = [join(folder, 'whole'), join(folder, 'shares')];
    const [first] = await trainOn(family, whole, 2, settings);
    const ranks = await trainOn(family, shares, 2, { ...settings, shardOptimizer: true });
    const names = readdirSync(last(whole)).filter((name) => name.endsWith('.safetensors'));
    expect(names.length).toBeGreaterThanOrEqual(3);
    for (const name of names) {
      const stem = name.replace('.safetensors', '');
      const bits = [whole, shares].map(
        (run) =>
      scope(() => new Map([...loadSafetensors(wholeFile(last(run), stem)).tensors].sort().map(([key, tensor]) => [key, Buffer.from(tensor.toBytes()).toString('hex')]))), // biome-ignore format: one row
      );
      expect(bits[1], name).toEqual(bits[0]);
    }
    if (family === 'enat') expectMemoryOfShares(first!, ranks, last(whole));
  },
);

test('a wide GPT in pieces on four ranks, then on two, then whole', LIMIT, async () => {
  const settings = { ...WIDE_GPT, memory: true, recompute: true, totalSteps: 12 };
  const [alone, pieces] = [join(folder, 'alone'), join(folder, 'pieces')];
  const [said] = await trainOn('gpt', alone, 1, settings);
  const ranks = await trainOn('gpt', pieces, 4, { ...settings, shardParameters: true, stopAt: 4 });
  expectMemoryOfPieces(said!, ranks, last(alone));
  await trainOn('gpt', pieces, 2, { ...settings, shardParameters: true, stopAt: 8 });
  await trainOn('gpt', pieces, 1, settings);
  expectClose(metricsOf(pieces), metricsOf(alone));
  expectSameTensors(last(pieces), last(alone));
});

test('an overflow that one rank alone sees: all leave the step out and halve the scale', LIMIT, async () => {
  const settings = { precision: 'fp16', shardParameters: true, recompute: true, overflowAt: 5 };
  for (const said of await trainOn('gpt', folder, 2, settings)) {
    // Infinity is null in JSON.
    const left = said.filter(({ kind, gradientNorm }) => kind === 'step' && gradientNorm === null);
    expect(left.map(({ step }) => step)).toEqual([5]);
    expect(said.at(-1)).toMatchObject({ kind: 'end', step: 20, finished: true });
  }
  const scales = metricsOf(folder).filter(({ kind }) => kind === 'train').map(({ lossScale }) => lossScale); // biome-ignore format: one row
  expect(scales).toEqual(Array.from({ length: 20 }, (_, i) => (i < 4 ? 65536 : 32768)));
});

test('a rank killed while it writes its part leaves the checkpoint before', LIMIT, async () => {
  const settings = { shardParameters: true, recompute: true, checkpointEvery: 2, timeoutMs: 8000 };
  const ranks = await startRanks('gpt', folder, 2, { ...settings, dieWriting: 6 });
  const ends = await Promise.all(ranks.map(({ ended }) => ended));
  expect(ends).toEqual([1, 'SIGKILL']);
  expect(ranks[0]!.said.at(-1)).toMatchObject({ kind: 'error', code: 'RANK_GONE', ranks: [1] });
  expect(readdirSync(join(folder, 'checkpoints')).sort()).toEqual(['step-0000002', 'step-0000004']);
  const [first] = await trainOn('gpt', folder, 2, settings);
  expect(first!.find(({ kind }) => kind === 'start')).toMatchObject({ step: 4, resumed: true });
  expect(first!.at(-1)).toMatchObject({ kind: 'end', step: 20, finished: true });
  expect(existsSync(join(folder, 'checkpoints/step-0000006/manifest.json'))).toBe(true);
  const steps = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line)); // biome-ignore format: one row
  expect(steps.filter(({ kind }) => kind === 'train').map(({ step }) => step)).toEqual(
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

test('pieces want as many shards on each rank', LIMIT, async () => {
  const ranks = await startRanks('gpt', folder, 3, { shardParameters: true });
  for (const { ended, said } of ranks) {
    expect(await ended).toBe(1);
    expect(said.at(-1)).toMatchObject({ kind: 'error', code: 'RANKS' });
    expect(said.at(-1)!.message).toMatch(/^Expected as many shards a step for each of 3 ranks, .*, got 4: choose/);
  }
});
