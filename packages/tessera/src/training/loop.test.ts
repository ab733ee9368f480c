import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStats } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCheckpoints } from './checkpoint.ts';
import { resolveTrainingConfig, type TrainingConfig } from './config.ts';
import { type TrainingEvent, trainLoop } from './loop.ts';
import { openRun } from './run-folder.ts';
import { loadSafetensors } from './stand-in.ts';
import { type ToyOptions, ToyTask } from './toy-task.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera loop '));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function settings(changes: Record<string, unknown> = {}): TrainingConfig {
  return resolveTrainingConfig({
    globalBatch: 32,
    totalSteps: 60,
    learningRate: { kind: 'cosine', base: 0.02, warmupSteps: 5, totalSteps: 60 },
    weightDecay: 0.01,
    clip: 1,
    logEvery: 7,
    checkpointEvery: 10,
    evaluateEvery: 15,
    sampleEvery: 25,
    ...changes,
  });
}

interface Outcome {
  events: TrainingEvent[];
  metrics: string;
  /** Raw bytes of every tensor of the last checkpoint, by file and name. */
  bits: Map<string, string>;
}

/** Trains in `name` until the end, or until `stopAt` steps are done and the consumer stops asking. */
async function train(
  name: string,
  config: TrainingConfig,
  options: { toy?: ToyOptions; leaveAt?: number; abortAt?: number; make?: () => ToyTask } = {},
): Promise<Outcome> {
  const task = options.make?.() ?? new ToyTask(options.toy);
  const run = openRun(join(folder, name), { training: config });
  const events: TrainingEvent[] = [];
  const controller = new AbortController();
  try {
    for await (const event of trainLoop(task, config, run, { signal: controller.signal })) {
      events.push(event);
      if (event.kind === 'step' && event.step === options.abortAt) controller.abort();
      if (event.kind === 'step' && event.step === options.leaveAt) break;
    }
  } finally {
    run.close();
    task.dispose();
  }
  return {
    events,
    metrics: readFileSync(run.metricsPath, 'utf8'),
    bits: bitsOf(findCheckpoints(run.checkpoints).checkpoints.at(-1)?.path),
  };
}

function bitsOf(checkpoint: string | undefined): Map<string, string> {
  const bits = new Map<string, string>();
  if (checkpoint === undefined) return bits;
  for (const file of ['model', 'ema', 'optimizer']) {
    const { tensors } = loadSafetensors(join(checkpoint, `${file}.safetensors`));
    for (const [name, tensor] of tensors) {
      bits.set(`${file}/${name}`, Buffer.from(tensor.toBytes()).toString('hex'));
      tensor.dispose();
    }
  }
  return bits;
}

const lines = (metrics: string) =>
  metrics
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number | string>);

test('the loss falls, on training and held-out points', async () => {
  const { metrics, events } = await train('run', settings());
  const trained = lines(metrics).filter((line) => line.kind === 'train');
  const heldOut = lines(metrics).filter((line) => line.kind === 'evaluation');
  expect(trained.map((line) => line.step)).toEqual([7, 14, 21, 28, 35, 42, 49, 56, 60]);
  expect(heldOut.map((line) => line.step)).toEqual([15, 30, 45, 60]);
  expect(trained.at(-1)!.loss).toBeLessThan((trained[0]!.loss as number) / 3);
  expect(heldOut.at(-1)!.loss).toBeLessThan((heldOut[0]!.loss as number) / 2);
  expect(events[0]).toMatchObject({ kind: 'start', step: 0, resumed: false });
  expect(events.at(-1)).toMatchObject({ kind: 'end', step: 60, finished: true });
  expect(events.filter((event) => event.kind === 'sample').map((event) => event.step)).toEqual([25, 50, 60]);
});

test.each([1, 9, 10, 23, 59])(
  'left at step %i without notice and resumed, a run ends in the same bits',
  async (step) => {
    const config = settings({ globalBatch: 48, shardSize: 16 });
    const whole = await train('whole', config);
    await train('cut', config, { leaveAt: step });
    const resumed = await train('cut', config, { toy: { seed: 5 }, ...(step < 10 ? { toy: {} } : {}) });
    expect(resumed.events[0]).toMatchObject({ resumed: step > 10 });
    expect(whole.bits.size).toBe(4 + 4 + 12);
    expect(resumed.bits).toEqual(whole.bits);
    expect(resumed.metrics).toBe(whole.metrics);
  },
);

test('live tensors stay flat over 10,000 steps', async () => {
  const config = settings({
    globalBatch: 4,
    shardSize: 2,
    totalSteps: 10_000,
    checkpointEvery: 9_999,
    evaluateEvery: 900,
  });
  const task = new ToyTask({ width: 4 });
  const run = openRun(join(folder, 'run'), {});
  const live: number[] = [];
  const bytes: number[] = [];
  for await (const event of trainLoop(task, config, run)) {
    if (event.kind !== 'step' || event.step % 1000 !== 0) continue;
    const { liveTensors, liveBytes } = memoryStats();
    live.push(liveTensors);
    bytes.push(liveBytes);
  }
  expect(live.length).toBe(10);
  expect(new Set(live.slice(0, -1)).size).toBeLessThanOrEqual(2); // with or without the sums of an interval
  expect(Math.max(...live)).toBeLessThan(live[0]! + 4);
  expect(Math.max(...bytes)).toBeLessThan(bytes[0]! + 64);
  run.close();
  task.dispose();
  expect(memoryStats().liveTensors).toBe(0);
});
