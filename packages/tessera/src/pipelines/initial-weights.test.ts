import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { manualSeed, saveSafetensors } from '@tessera/torch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelPreset } from '../models/presets.ts';
import { familyOf } from '../models/registry.ts';
import { initialise, type Module } from '../nn/module.ts';
import { firstTokenizer } from './first-tokenizer.ts';
import { copyInitialWeights } from './initial-weights.ts';
import { train } from './train.ts';

let folder: string;
let file: string;
let source: Module;

function model(numClasses: number): Module {
  const sizes = { gridSize: 2, codebookSize: 8, embedDim: 8, depth: 2, numHeads: 2, numClasses };
  const { family, config } = modelPreset('autonat-nano', sizes);
  return initialise((p) => familyOf(family).construct(config, p));
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'initial weights '));
  file = join(folder, 'model.safetensors');
  manualSeed(1);
  source = model(5);
  saveSafetensors(file, source.state);
});
afterAll(() => {
  source.dispose();
  rmSync(folder, { recursive: true, force: true });
});

test('copies everything but what is to be learned anew, from a file or its folder', () => {
  for (const path of [file, folder]) {
    const target = model(3);
    const classes = target.state.get('context_embed.word_embeddings.weight')!.toNumbers();
    const { copied, kept } = copyInitialWeights(target, path, ['context_embed.word']);
    expect(kept).toEqual(['context_embed.word_embeddings.weight']);
    expect(copied).toBe(source.state.size - 1);
    expect(target.state.get('context_embed.word_embeddings.weight')!.toNumbers()).toEqual(classes);
    const name = 'mid_block.attn.qkv.weight';
    expect(target.state.get(name)!.toNumbers()).toEqual(source.state.get(name)!.toNumbers());
    target.dispose();
  }
});

test('says what does not fit and what to do, and changes nothing', () => {
  const target = model(3);
  const before = target.state.get('norm.weight')!.toNumbers();
  expect(() => copyInitialWeights(target, file, [])).toThrow(
    /context_embed.word_embeddings.weight: expected \[4, 8\], got \[6, 8\]\. Name what is to be learned anew with --ignore-keys/,
  );
  expect(() => copyInitialWeights(target, file, ['y_embedder'])).toThrow(
    /No tensor of this model is called y_embedder/,
  );
  expect(() => copyInitialWeights(target, join(folder, 'absent'), [])).toThrow(/expected weights/);
  expect(target.state.get('norm.weight')!.toNumbers()).toEqual(before);
  target.dispose();
});

test('settings of weights to start from are refused where there are none', async () => {
  const start = (options: object) =>
    train({ dryRun: true, model: 'enat-nano', data: ['tokens'], out: 'run', ...options }).next();
  await expect(start({ entry: 'ema' })).rejects.toThrow(
    '--entry speaks of weights to start from: name them with --init-from.',
  );
  await expect(start({ ignoreKeys: ['norm'] })).rejects.toThrow(/--ignore-keys .* --init-from/);
  const tokenizer = { model: 'vq-small', codebookSize: undefined, initFrom: undefined, seed: 1 };
  expect(() => firstTokenizer({ ...tokenizer, entry: 'ema', ignoreKeys: [] })).toThrow(/--entry .* --init-from/);
});
