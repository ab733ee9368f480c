/**
 * `tessera fit` under `kill -9`: a fixed plan of sixty steps, thirty of the tokenizer and thirty of the generator, run
 * once undisturbed and once killed again and again, each time gone on with by the same command. Weights, tokens and
 * metrics must be equal, byte for byte.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Draws } from '@tessera/schedule';
import { getNumThreads, torchVersion } from '@tessera/torch';
import { encodePng, loadFitImages, type PipelineEvent } from 'tessera';
import { expect } from 'vitest';

const BIN = join(import.meta.dirname, '../../packages/tessera/bin/tessera.js');
const SIZE = 16;
const STEPS = 30;
const SEED = 3;
/** What must be equal at the end. */
const COMPARED = [
  'tokenizer/model.safetensors',
  'tokens/train/tokens-00000.safetensors',
  'tokenizer-training/metrics.jsonl',
  'generator/metrics.jsonl',
  'model/model.safetensors',
  'model/tokenizer/model.safetensors',
  'samples/grid.png',
];

export async function expectSameFitAfterKills(numKills: number, seed: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tessera fit kill '));
  try {
    const images = join(folder, 'images');
    await writeImages(images);
    const plan = join(folder, 'plan.json');
    await writeFixedPlan(images, plan);
    const undisturbed = join(folder, 'undisturbed');
    await runFit(images, plan, undisturbed);
    const killed = join(folder, 'killed');
    const draws = new Draws(seed, 0, 0, 0);
    let from = 0;
    for (let kill = 0; kill < numKills; kill++) {
      // Late in what is left, so that each start gets somewhere; the delay lands in a step, a checkpoint, a picture.
      const span = Math.max(1, Math.floor((2 * STEPS - 1 - from) / (numKills - kill)));
      from = await runFit(images, plan, killed, { atStep: from + 1 + draws.integer(span), delay: draws.integer(120) });
    }
    await runFit(images, plan, killed);
    for (const file of COMPARED) {
      const [a, b] = [undisturbed, killed].map((run) => readFileSync(join(run, file)));
      expect(a!.equals(b!), `${file} after ${numKills} kills`).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Two classes of noisy coloured squares. */
async function writeImages(root: string): Promise<void> {
  const draws = new Draws(7, 0, 0, 0);
  for (const [label, name] of ['red', 'blue'].entries()) {
    mkdirSync(join(root, name), { recursive: true });
    for (let i = 0; i < 40; i++) {
      const data = new Uint8Array(SIZE * SIZE * 3);
      for (let at = 0; at < data.length; at++) data[at] = (at % 3 === label * 2 ? 160 : 40) + draws.integer(60);
      writeFileSync(join(root, name, `${i}.png`), await encodePng({ width: SIZE, height: SIZE, data }));
    }
  }
}

async function writeFixedPlan(root: string, path: string): Promise<void> {
  const loading = loadFitImages(root, { size: SIZE, seed: SEED, signal: undefined });
  let next = await loading.next();
  while (!next.done) next = await loading.next();
  const { fingerprint, classes, train, heldOut } = next.value;
  const training = (globalBatch: number): Record<string, unknown> => ({
    globalBatch,
    totalSteps: STEPS,
    learningRate: { kind: 'cosine', base: 1e-3, warmupSteps: 5, totalSteps: STEPS },
    clip: 1,
    logEvery: 4,
    checkpointEvery: 5,
    evaluateEvery: 10,
    sampleEvery: 15,
  });
  const plan = {
    formatVersion: 1,
    imageSize: SIZE,
    seed: SEED,
    threads: getNumThreads(),
    torch: torchVersion(),
    dataFingerprint: fingerprint,
    numTrain: train.labels.length,
    numHeldOut: heldOut.labels.length,
    classes,
    tokenizer: {
      mode: 'train',
      reason: 'a test',
      config: {
        channels: 16,
        channelMultipliers: [1, 2, 2],
        latentChannels: 16,
        codebookSize: 32,
        codeDim: 4,
        encoderResBlocks: 1,
        decoderResBlocks: 1,
        groupNormGroups: 4,
        l2Norm: false,
        deepestAttention: false,
        middleAttention: false,
        usageFifo: 0,
      },
      recipe: { horizontalFlip: true, reviveEvery: 7 },
      training: training(48),
    },
    generator: {
      config: {
        gridSize: 4,
        codebookSize: 32,
        numClasses: 2,
        embedDim: 64,
        encoderDepth: 3,
        decoderDepth: 2,
        numHeads: 4,
      },
      task: {},
      training: { ...training(128), shardSize: 64 },
    },
    measured: {},
  };
  writeFileSync(path, JSON.stringify(plan));
}

/** Runs the command to its end, or kills it `delay` ms after a step of either training. Returns the last step told. */
function runFit(images: string, plan: string, out: string, kill?: { atStep: number; delay: number }): Promise<number> {
  const child = spawn(process.execPath, [BIN, 'fit', images, '--plan', plan, '--out', out, '--json']);
  let last = 0;
  let errors = '';
  let waiting = false;
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as PipelineEvent;
    if (event.kind !== 'progress' || event.unit !== 'step') return;
    last = event.done + (event.stage === 'generator' ? STEPS : 0);
    if (kill === undefined || waiting || last < kill.atStep) return;
    waiting = true;
    setTimeout(() => child.kill('SIGKILL'), kill.delay);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 || (kill !== undefined && signal === 'SIGKILL')) resolve(last);
      else reject(new Error(`tessera fit ended with ${signal ?? `code ${code}`}: ${errors}`));
    });
  });
}
