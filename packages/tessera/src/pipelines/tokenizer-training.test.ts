import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PictureSet } from '../data/picture-set.ts';
import { resolveTrainingConfig } from '../training/config.ts';
import { openRun } from '../training/run-folder.ts';
import { vqRecipeSchema } from '../training/vq-task.ts';
import { type TokenizerTraining, trainTokenizer } from './tokenizer-training.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tokenizer training '));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('pictures that cannot be read leave the run free for the next start', async () => {
  const run = join(folder, 'run');
  const learningRate = { kind: 'constant', base: 1e-3 } as const;
  const options: TokenizerTraining = {
    run,
    out: join(folder, 'tokenizer'),
    stage: 'tokenizer',
    config: {},
    recipe: vqRecipeSchema.parse({}),
    training: resolveTrainingConfig({ globalBatch: 2, totalSteps: 1, learningRate }),
    seed: 0,
    train: { skipped: [], block: () => Promise.reject(new Error('the disk is gone')) } as unknown as PictureSet,
    heldOut: { pixels: new Uint8Array(0), size: 8 },
    identity: {},
    signal: undefined,
  };
  const running = async () => {
    for await (const _ of trainTokenizer(options));
  };
  await expect(running()).rejects.toThrow('the disk is gone');
  const { config, recipe, training } = options;
  openRun(run, { family: 'llamagen-vq', config, recipe, training }).close();
});
