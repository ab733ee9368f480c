// Commands under `tessera launch` with two ranks do what one process does.

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Draws } from '@tessera/schedule';
import { TokenDatasetWriter } from 'tessera';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TINY_CLASSES, writeTinyModel } from '../../packages/tessera/src/pipelines/tiny-model.test-support.ts';
import { expectClose, metricsOf } from '../distributed/expect-same-training.ts';

const TESSERA = fileURLToPath(new URL('../../packages/tessera/bin/tessera.js', import.meta.url));
const LIMIT = { timeout: 240_000 };

let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-launched-'));
  writeTinyModel(at('model'));
  const writer = new TokenDatasetWriter(at('tokens'), { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 24; i++)
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command line to its end, as `ranks` processes. */
async function tessera(ranks: number, ...words: string[]): Promise<void> {
  const before = ranks === 1 ? [] : ['launch', '--nproc-per-node', `${ranks}`, '--'];
  const env = { ...process.env, OMP_NUM_THREADS: '1' };
  await promisify(execFile)(process.execPath, [TESSERA, ...before, ...words], { env, cwd: folder, timeout: 120_000 });
}

/** The files of a folder as hexadecimal numbers, by name. */
function filesOf(path: string): Map<string, string> {
  const names = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(names.map((entry) => [entry.name, readFileSync(join(entry.parentPath, entry.name), 'hex')]).sort() as [string, string][]); // biome-ignore format: one row
}

test('sample: pictures, grid, reveal and archive are the same', LIMIT, async () => {
  for (const ranks of [1, 2, 3]) {
    const out = ['--out', at(`samples-${ranks}`), '--npz', at(`samples-${ranks}`, 'all.npz')];
    mkdirSync(at(`samples-${ranks}`));
    await tessera(
      ranks,
      'sample',
      at('model'),
      '--num-images',
      '70',
      '--batch',
      '7',
      '--seed',
      '5',
      '--reveal',
      ...out,
    );
  }
  const alone = filesOf(at('samples-1'));
  expect(alone.size).toBe(70 + 3);
  for (const ranks of [2, 3]) {
    const files = filesOf(at(`samples-${ranks}`));
    expect([...files.keys()]).toEqual([...alone.keys()]);
    const different = [...alone.keys()].filter((name) => files.get(name) !== alone.get(name));
    expect(different).toEqual([]);
  }
});

test('sample: without --out all ranks take the same new folder', LIMIT, async () => {
  await tessera(2, 'sample', at('model'), '--num-images', '4');
  expect(readdirSync(at('samples'))).toEqual(['model-001']);
  expect(readdirSync(at('samples', 'model-001'))).toHaveLength(4 + 1);
});

test('evaluate: the numbers and the report are the same', LIMIT, async () => {
  await tessera(1, 'sample', at('model'), '--num-images', '60', '--seed', '1', '--out', at('real'));
  rmSync(at('real', 'grid.png'));
  const words = ['--reference', at('real'), '--protocol', 'local', '--num-images', '300'];
  for (const ranks of [1, 2]) {
    await tessera(ranks, 'evaluate', at('model'), ...words, '--out', at(`evaluation-${ranks}`));
  }
  const [alone, shared] = [1, 2].map((ranks) => JSON.parse(readFileSync(at(`evaluation-${ranks}`, 'result.json'), 'utf8'))); // biome-ignore format: one row
  expect(Object.keys(alone.metrics).length).toBeGreaterThan(2);
  expect(shared).toEqual(alone);
});

test('train in pieces: samples, a model folder, and checkpoints for export, sample and init', LIMIT, async () => {
  const words = [
    '--model',
    'gpt-nano',
    '--data',
    at('tokens'),
    '--steps',
    '6',
    '--global-batch',
    '8',
    '--shard-size',
    '4',
  ];
  const more = ['--tokenizer', at('model'), '--checkpoint-every', '3'];
  await tessera(2, 'train', ...words, ...more, '--shard-parameters', '--out', at('pieces'));
  await tessera(1, 'train', ...words, ...more, '--recompute', '--out', at('alone'));
  expectClose(metricsOf(at('pieces')), metricsOf(at('alone')));
  const step = join('checkpoints', 'step-0000006');
  expect(readdirSync(at('pieces', step)).filter((name) => /-0000[12]-of-00002/.test(name))).toHaveLength(6);
  expect(readdirSync(at('pieces', 'samples'))).toEqual(readdirSync(at('alone', 'samples')));
  expect(readdirSync(at('pieces', 'model')).sort()).toEqual(readdirSync(at('alone', 'model')).sort());
  // Whole again, by whatever reads it.
  await tessera(1, 'export', at('pieces'), '--out', at('gpt.pt'));
  expect(readdirSync(at('pieces', step))).toEqual(
    expect.arrayContaining(['ema.safetensors', 'model.safetensors', 'optimizer.safetensors']),
  );
  await tessera(1, 'sample', '--weights', at('pieces', step), '--model', 'gpt-nano', '--tokens', at('drawn.npy'), '--num-images', '3'); // biome-ignore format: one row
  expect(readFileSync(at('drawn.npy')).subarray(1, 6).toString()).toBe('NUMPY');
  for (const ranks of [1, 2]) {
    const more = ranks === 1 ? ['--recompute'] : ['--shard-parameters'];
    await tessera(
      ranks,
      'train',
      ...words,
      ...more,
      '--init-from',
      at('pieces', step),
      '--out',
      at(`further-${ranks}`),
    );
  }
  expectClose(metricsOf(at('further-2')), metricsOf(at('further-1')));
  // The same command goes on, on one process too.
  await tessera(1, 'train', ...words, ...more, '--shard-parameters', '--out', at('pieces'));
});

test('train: pieces are for GPT, shares for all', LIMIT, async () => {
  const words = [
    '--model',
    'enat-nano',
    '--data',
    at('tokens'),
    '--steps',
    '2',
    '--global-batch',
    '8',
    '--shard-size',
    '4',
  ];
  await expect(tessera(2, 'train', ...words, '--shard-parameters', '--out', at('enat'))).rejects.toMatchObject({
    stderr: expect.stringContaining('--shard-parameters is of GPT alone'),
  });
  await tessera(2, 'train', ...words, '--shard-optimizer', '--out', at('shares'));
  expect(readdirSync(at('shares/checkpoints/step-0000002'))).toContain('optimizer-00002-of-00002.safetensors');
});
