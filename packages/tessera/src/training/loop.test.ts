import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getNumThreads, memoryStats, setNumThreads } from '@tessera/torch';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findCheckpoints } from './checkpoint.ts';
import { resolveTrainingConfig, type TrainingConfig } from './config.ts';
import { type TrainingEvent, trainLoop } from './loop.ts';
import { readTensors } from './read-tensors.ts';
import { openRun } from './run-folder.ts';
import { ToyTask } from './toy-task.test-support.ts';

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

/** Trains in `name` to the end, until the consumer leaves after a step, or until it gives the signal there. */
async function train(
  name: string,
  config: TrainingConfig,
  options: { task?: ToyTask; leaveAt?: number; abortAt?: number } = {},
): Promise<Outcome> {
  const task = options.task ?? new ToyTask();
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
    const tensors = readTensors(join(checkpoint, `${file}.safetensors`));
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
  expect(trained.at(-1)!.loss).toBeLessThan((trained[0]!.loss as number) / 2);
  expect(heldOut.at(-1)!.loss).toBeLessThan((heldOut[0]!.loss as number) / 2);
  expect(events[0]).toMatchObject({ kind: 'start', step: 0, resumed: false });
  expect(events.at(-1)).toMatchObject({ kind: 'end', step: 60, finished: true });
  expect(events.filter((event) => event.kind === 'sample').map((event) => event.step)).toEqual([25, 50, 60]);
});

describe('an interrupted run', () => {
  const config = settings({ globalBatch: 48, shardSize: 16 });
  let whole: Outcome;
  beforeAll(async () => {
    const home = mkdtempSync(join(tmpdir(), 'tessera whole '));
    folder = home;
    whole = await train('whole', config);
    rmSync(home, { recursive: true });
  });

  test.each([1, 10, 23, 59])('left at step %i without notice and resumed ends in the same bits', async (step) => {
    await train('cut', config, { leaveAt: step });
    // Other initial weights show that nothing but the checkpoint counts; before the first one there is none.
    const resumed = await train('cut', config, { task: new ToyTask({ seed: step > 10 ? 5 : 0 }) });
    expect(resumed.events[0]).toMatchObject({ kind: 'start', resumed: step > 10 });
    expect(whole.bits.size).toBe(4 + 4 + 12);
    expect(resumed.bits).toEqual(whole.bits);
    expect(resumed.metrics).toBe(whole.metrics);
  });

  test('stopped by a signal saves the step it is at and ends in the same bits', async () => {
    const stopped = await train('cut', config, { abortAt: 23 });
    expect(stopped.events.slice(-2)).toMatchObject([
      { kind: 'checkpoint', step: 23 },
      { kind: 'end', step: 23, finished: false },
    ]);
    const resumed = await train('cut', config, { task: new ToyTask({ seed: 5 }) });
    expect(resumed.events[0]).toMatchObject({ kind: 'start', step: 23 });
    expect(resumed.bits).toEqual(whole.bits);
    expect(resumed.metrics).toBe(whole.metrics);
  });

  test('goes on from the checkpoint before a damaged one', async () => {
    await train('cut', config, { leaveAt: 35 });
    rmSync(join(folder, 'cut', 'checkpoints', 'step-0000030', 'ema.safetensors'));
    const resumed = await train('cut', config);
    expect(resumed.events.slice(0, 2)).toMatchObject([
      { kind: 'start', step: 20 },
      { kind: 'warning', message: expect.stringContaining('step-0000030 is not whole (no ema.safetensors)') },
    ]);
    expect(resumed.bits).toEqual(whole.bits);
    expect(resumed.metrics).toBe(whole.metrics);
  });

  test('says when the number of threads differs', async () => {
    await train('cut', config, { leaveAt: 15 });
    const threads = getNumThreads();
    setNumThreads(threads + 1);
    try {
      const { events } = await train('cut', config, { leaveAt: 16 });
      expect(events[1]).toMatchObject({
        kind: 'warning',
        message: `The checkpoint was made with ${threads} threads before, ${threads + 1} now: the result may differ in its last bits.`,
      });
    } finally {
      setNumThreads(threads);
    }
  });

  test('that had finished does nothing more', async () => {
    await train('cut', config);
    const { events, bits } = await train('cut', config);
    expect(events.map((event) => event.kind)).toEqual(['start', 'end']);
    expect(bits).toEqual(whole.bits);
  });
});

test('shards accumulate to the gradient of the whole batch', async () => {
  const changes = { totalSteps: 20, clip: undefined };
  const one = await train('one', settings(changes), { task: new ToyTask({ dropout: 0 }) });
  const four = await train('four', settings({ ...changes, shardSize: 8 }), { task: new ToyTask({ dropout: 0 }) });
  const [ofOne, ofFour] = [lines(one.metrics), lines(four.metrics)];
  expect(ofFour).toHaveLength(ofOne.length);
  for (const [i, line] of ofOne.entries()) {
    // The same sums in another order.
    expect(Math.abs((ofFour[i]!.loss as number) / (line.loss as number) - 1)).toBeLessThan(1e-5);
    if (line.kind !== 'train') continue;
    expect(Math.abs((ofFour[i]!.gradientNorm as number) / (line.gradientNorm as number) - 1)).toBeLessThan(1e-4);
  }
});

test('a loss that is not a number stops the run and leaves weights and checkpoints as they were', async () => {
  const task = new ToyTask();
  const shardLoss = task.shardLoss.bind(task);
  let weights: number[] = [];
  task.shardLoss = (shard) => {
    const result = shardLoss(shard);
    if (shard.step !== 12) return result;
    weights = task.model.state.get('hidden.weight')!.toNumbers();
    return { ...result, loss: result.loss.mul(Number.NaN) };
  };
  const config = settings();
  const run = openRun(join(folder, 'run'), {});
  const consume = async () => {
    for await (const _ of trainLoop(task, config, run));
  };
  await expect(consume()).rejects.toMatchObject({
    code: 'NOT_FINITE',
    message: expect.stringContaining('the loss in step 13 is NaN'),
  });
  expect(task.model.state.get('hidden.weight')!.toNumbers()).toEqual(weights);
  expect(findCheckpoints(run.checkpoints).checkpoints.map((checkpoint) => checkpoint.step)).toEqual([10]);
  run.close();
  task.dispose();
});

describe('with a scaled loss (fp16)', () => {
  /** Overflows in some steps: finite as it is, not once it is scaled. */
  const overflowing = (steps: readonly number[], factor = 1e36): ToyTask => {
    const task = new ToyTask();
    const shardLoss = task.shardLoss.bind(task);
    task.shardLoss = (shard) => {
      const result = shardLoss(shard);
      return steps.includes(shard.step) ? { ...result, loss: result.loss.mul(factor) } : result;
    };
    return task;
  };
  const config = settings({ precision: 'fp16', totalSteps: 30, checkpointEvery: 1, keepCheckpoints: 30, logEvery: 1 });
  const stateAt = (step: number) =>
    JSON.parse(readFileSync(join(folder, 'run', 'checkpoints', `step-00000${step}`, 'state.json'), 'utf8')).lossScale;

  test('without an overflow it trains like float32: the scale is a power of two', async () => {
    const [plain, scaled] = [
      await train('plain', settings({ totalSteps: 30 })),
      await train('run', settings({ precision: 'fp16', totalSteps: 30 })),
    ];
    expect(scaled.bits).toEqual(plain.bits);
    const trained = lines(scaled.metrics).filter((line) => line.kind === 'train');
    expect(trained.at(-1)).toMatchObject({ skippedSteps: 0, lossScale: 65536 });
  });

  test('an overflow is passed over: the optimizer stays, the averages and the schedule go on, the scale halves', async () => {
    const { metrics } = await train('run', config, { task: overflowing([12, 13]) });
    const trained = lines(metrics).filter((line) => line.kind === 'train');
    expect(trained.map((line) => line.skippedSteps)).toEqual(trained.map((_, i) => (i === 12 || i === 13 ? 1 : 0)));
    expect(trained.slice(11, 15).map((line) => line.lossScale)).toEqual([65536, 32768, 16384, 16384]);
    const rates = trained.map((line) => line.learningRate as number);
    expect(rates[13]).toBeLessThan(rates[12]!);
    expect(rates[14]).toBeLessThan(rates[13]!);
    const at = (step: number) => bitsOf(join(folder, 'run', 'checkpoints', `step-00000${step}`));
    const [before, after] = [at(12), at(14)];
    for (const [name, bits] of before) {
      if (name.startsWith('ema/')) expect(after.get(name)).not.toBe(bits);
      else expect(after.get(name)).toBe(bits);
    }
    expect(stateAt(14)).toEqual({ scale: 16384, growthTracker: 0 });
    expect(stateAt(20)).toEqual({ scale: 16384, growthTracker: 6 });
  });

  test('the task is told the scale, for a backward pass of its own', async () => {
    const scalesOf = async (name: string, changes: object): Promise<(number | undefined)[]> => {
      const task = overflowing([1]);
      const scales: (number | undefined)[] = [];
      const { shardLoss } = task;
      task.shardLoss = (shard) => {
        scales.push(shard.lossScale);
        return shardLoss(shard);
      };
      await train(name, settings({ totalSteps: 3, ...changes }), { task });
      return scales;
    };
    expect(await scalesOf('run', { precision: 'fp16', shardSize: 16 })).toEqual([65536, 65536, 65536, 65536, 32768, 32768]); // biome-ignore format: one row
  });

  test('a resumed run ends in the same bits', async () => {
    const steps = [3, 12, 20];
    const whole = await train('whole', config, { task: overflowing(steps) });
    await train('run', config, { task: overflowing(steps), leaveAt: 16 });
    const resumed = await train('run', config, { task: overflowing(steps) });
    expect(resumed.events[0]).toMatchObject({ kind: 'start', resumed: true });
    expect(resumed.bits).toEqual(whole.bits);
    expect(resumed.metrics).toBe(whole.metrics);
  });

  test('what no scale can mend stops the run', async () => {
    const always = overflowing(
      Array.from({ length: 30 }, (_, step) => step),
      Number.NaN,
    );
    await expect(train('run', config, { task: always })).rejects.toMatchObject({
      code: 'NOT_FINITE',
      message: expect.stringContaining('the loss in step 17 is NaN'),
    });
  });
});

test('a task without held-out data trains without evaluation', async () => {
  const task: ToyTask = new ToyTask();
  Object.defineProperty(task, 'evaluate', { value: undefined });
  const { events, metrics } = await train('run', settings({ totalSteps: 30 }), { task });
  expect(events.at(-1)).toMatchObject({ kind: 'end', finished: true });
  expect(lines(metrics).every((line) => line.kind === 'train')).toBe(true);
});

test('live tensors stay flat over 10,000 steps', { timeout: 180_000 }, async () => {
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
