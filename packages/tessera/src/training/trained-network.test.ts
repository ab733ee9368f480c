import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keep, memoryStats, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCheckpoints } from './checkpoint.ts';
import { resolveTrainingConfig, type TrainingConfig } from './config.ts';
import { trainLoop } from './loop.ts';
import { readTensors } from './read-tensors.ts';
import { openRun } from './run-folder.ts';
import type { Shard, ShardResult, TrainedPart, TrainingTask } from './task.ts';
import { ToyTask } from './toy-task.test-support.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera parts '));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const settings = (changes: Record<string, unknown> = {}): TrainingConfig =>
  resolveTrainingConfig({
    globalBatch: 32,
    shardSize: 16,
    totalSteps: 12,
    learningRate: { kind: 'constant', base: 0.02 },
    logEvery: 4,
    checkpointEvery: 5,
    ...changes,
  });

/** A toy beside whose network a critic learns; the main loss passes through the critic, as an adversarial one does. */
class PairTask implements TrainingTask {
  readonly name = 'pair';
  readonly toy = new ToyTask({ seed: 1, dropout: 0 });
  readonly critic = new ToyTask({ seed: 2, dropout: 0 });
  readonly model = this.toy.model;
  readonly ema = this.toy.ema;
  readonly numItems = this.toy.numItems;
  readonly memory = new Map([['steps', keep(zeros([1]))]]);
  readonly parts: readonly TrainedPart[];
  throughCritic = 0.1;
  criticFrom = 0;

  constructor(part: Partial<TrainedPart> = {}) {
    this.parts = [{ name: 'critic', model: this.critic.model, ...part }];
  }

  shardLoss(shard: Shard): ShardResult {
    noGrad(() => scope(() => void this.memory.get('steps')!.add_(1)));
    const main = this.toy.shardLoss(shard);
    const judged = this.critic.shardLoss(shard).loss.mul(this.throughCritic);
    const partLosses: Record<string, Tensor> = {};
    if (shard.step >= this.criticFrom) partLosses.critic = this.critic.shardLoss(shard).loss;
    return { ...main, loss: main.loss.add(judged), partLosses };
  }

  dispose(): void {
    this.toy.dispose();
    this.critic.dispose();
    for (const tensor of this.memory.values()) tensor.dispose();
  }
}

interface Outcome {
  bits: Map<string, string>;
  files: string[];
  metrics: Record<string, number>[];
}

async function train(name: string, task: TrainingTask & { dispose(): void }, config: TrainingConfig, leaveAt?: number) {
  const run = openRun(join(folder, name), { training: config });
  const metrics: Record<string, number>[] = [];
  try {
    for await (const event of trainLoop(task, config, run)) {
      if (event.kind === 'step' && event.metrics !== undefined) metrics.push(event.metrics);
      if (event.kind === 'step' && event.step === leaveAt) break;
    }
  } finally {
    run.close();
    task.dispose();
  }
  const path = findCheckpoints(run.checkpoints).checkpoints.at(-1)!.path;
  const files = readdirSync(path).filter((file) => file.endsWith('.safetensors'));
  const bits = new Map(
    files.flatMap((file) =>
      [...readTensors(join(path, file))].map(([key, tensor]: [string, Tensor]) => {
        const hex = Buffer.from(tensor.toBytes()).toString('hex');
        tensor.dispose();
        return [`${file}/${key}`, hex] as const;
      }),
    ),
  );
  return { bits, files, metrics } satisfies Outcome;
}

const only = (bits: Map<string, string>, ...files: string[]): Map<string, string> =>
  new Map([...bits].filter(([name]) => files.some((file) => name.startsWith(`${file}.safetensors/`))));

test('each loss moves its own network alone', async () => {
  const config = settings();
  const pair = await train('pair', new PairTask(), config);
  const alone = await train('alone', new ToyTask({ seed: 1, dropout: 0 }), config);
  const critic = await train('critic', new ToyTask({ seed: 2, dropout: 0 }), config);
  expect(pair.files.sort()).toEqual(
    ['critic', 'critic-optimizer', 'ema', 'model', 'optimizer', 'task'].map((name) => `${name}.safetensors`).sort(),
  );
  // The critic's share of the main loss does not depend on the main network, so both train as they would alone.
  expect(only(pair.bits, 'model', 'ema', 'optimizer')).toEqual(only(alone.bits, 'model', 'ema', 'optimizer'));
  const renamed = new Map([...only(critic.bits, 'model')].map(([name, hex]) => [name.replace('model', 'critic'), hex]));
  expect(only(pair.bits, 'critic')).toEqual(renamed);
  expect(Object.keys(pair.metrics[0]!).slice(0, 2)).toEqual(['loss', 'criticLoss']);
});

test('a run of several networks, averages and memory resumes to the same bits', async () => {
  const config = settings({ ema: [0.99, 0.9] });
  const part = () => {
    const task = new PairTask();
    return Object.assign(task, { parts: [{ ...task.parts[0]!, ema: task.critic.ema }] });
  };
  const whole = await train('whole', part(), config);
  await train('cut', part(), config, 8);
  const resumed = await train('cut', part(), config);
  expect(resumed.bits).toEqual(whole.bits);
  expect(whole.files).toContain('critic-ema-0.9.safetensors');
  expect(resumed.metrics.at(-1)).toEqual(whole.metrics.at(-1));
});

test('several averages: each by its own decay, the first as if it were alone', async () => {
  const both = await train('both', new ToyTask(), settings({ ema: [{ decay: 0.5, warmup: false }, 0] }));
  const first = await train('first', new ToyTask(), settings({ ema: { decay: 0.5, warmup: false } }));
  expect(only(both.bits, 'model', 'ema')).toEqual(only(first.bits, 'model', 'ema'));
  const last = new Map([...only(both.bits, 'ema-0')].map(([name, hex]) => [name.replace('ema-0', 'model'), hex]));
  expect(last).toEqual(only(both.bits, 'model')); // a decay of 0 forgets everything at once
  expect(memoryStats().liveTensors).toBe(0);
});

test('a part has its own rate, and rests while it has no loss', async () => {
  const config = settings({ totalSteps: 3 });
  const bits = async (name: string, part: Partial<TrainedPart>, criticFrom = 0): Promise<Map<string, string>> => {
    const task = new PairTask(part);
    task.criticFrom = criticFrom;
    return (await train(name, task, config)).bits;
  };
  const usual = await bits('usual', {});
  const slow = await bits('slow', { optimizer: { learningRate: { kind: 'constant', base: 0.001, warmupSteps: 0, exactOriginal: false } } }); // biome-ignore format: one row
  const resting = await bits('resting', {}, 3);
  expect(only(slow, 'model')).toEqual(only(usual, 'model'));
  expect(only(slow, 'critic')).not.toEqual(only(usual, 'critic'));
  expect(only(resting, 'critic-optimizer').size).toBe(0);
});

test('a part that is not finite stops the run before any network moves, and is named', async () => {
  const task = new PairTask();
  const shardLoss = task.shardLoss.bind(task);
  let weights: number[] = [];
  let breaks = (result: ShardResult): ShardResult => result;
  task.shardLoss = (shard) => {
    if (shard.step < 6) return shardLoss(shard);
    weights = task.model.state.get('hidden.weight')!.toNumbers();
    return breaks(shardLoss(shard));
  };
  const config = settings();
  const run = openRun(join(folder, 'run'), {});
  const consume = async () => {
    for await (const _ of trainLoop(task, config, run));
  };
  breaks = (result) => ({
    ...result,
    partLosses: { critic: result.partLosses!.critic!.mul(Number.POSITIVE_INFINITY) },
  });
  await expect(consume()).rejects.toMatchObject({ message: expect.stringContaining('the loss of the critic in step 7 is') }); // biome-ignore format: one row
  expect(task.model.state.get('hidden.weight')!.toNumbers()).toEqual(weights);
  // The root has no slope at 0: a finite loss with a gradient that is not.
  breaks = (result) => ({ ...result, loss: result.loss.add(task.model.state.get('output.bias')!.mul(0).sqrt().sum()) });
  await expect(consume()).rejects.toMatchObject({ code: 'NOT_FINITE', message: expect.stringMatching(/the gradient in step 7 has the norm NaN \(first at output\.bias\), though the loss is [\d.]+; the weights/) }); // biome-ignore format: one row
  breaks = (result) => ({ ...result, partLosses: { judge: result.loss } });
  await expect(consume()).rejects.toMatchObject({ code: 'PART', message: 'pair gave a loss for "judge", which is none of its parts.' }); // biome-ignore format: one row
  expect(existsSync(join(folder, 'run', 'checkpoints', 'step-0000005'))).toBe(true);
  run.close();
  task.dispose();
});

test('two averages need two decays', () => {
  expect(() => settings({ ema: [0.9, { decay: 0.9 }] })).toThrow('expected different decays');
  expect(settings({}).ema).toEqual([{ decay: 0.9999, warmup: true }]);
  expect(() => settings({ ema: { decai: 0.9 } })).toThrow('did you mean "decay"');
});
