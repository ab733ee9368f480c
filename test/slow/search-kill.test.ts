/**
 * `tessera search` and `tessera search-training` under `kill -9`, and spread over processes and ranks: the evaluations are the
 * same in number, order and value as those of one undisturbed process, and none is made twice.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Draws } from '@tessera/schedule';
import { type PipelineEvent, TokenDatasetWriter } from 'tessera';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TINY_CLASSES, writeTinyModel } from '../../packages/tessera/src/pipelines/tiny-model.test-support.ts';

const BIN = join(import.meta.dirname, '../../packages/tessera/bin/tessera.js');
const EVALUATIONS = 16;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'search kill '));
  writeTinyModel(join(folder, 'model'));
  const tokens = { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES };
  const writer = new TokenDatasetWriter(join(folder, 'tokens'), tokens);
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 12; i++)
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function start(out: string, more: readonly string[] = [], env: Record<string, string> = {}): ChildProcess {
  const words = ['search', join(folder, 'model'), '--out', join(folder, out), '--objective', 'likelihood'];
  const settings = ['--num-images', '40', '--budget-evaluations', String(EVALUATIONS), '--confirm', '0', '--json'];
  const all = [...words, '--reference', join(folder, 'tokens'), ...settings, ...more];
  return spawn(process.execPath, [BIN, ...all], { env: { ...process.env, ...env } });
}

/** Waits for the end (0), or kills (null) after so many evaluations, or steps of a training. */
function ended(child: ChildProcess, killAfter?: number): Promise<number | null> {
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const event = JSON.parse(line) as PipelineEvent;
    if (event.kind === 'progress' && event.done === killAfter) child.kill('SIGKILL');
  });
  return new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve(code);
      else reject(new Error(`exit code ${code}: ${errors}`));
    });
  });
}

function evaluations(out: string): unknown[] {
  const lines = readFileSync(join(folder, out, 'evaluations.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const records = lines.map((line) => JSON.parse(line) as { index: number; point: number[]; value: number });
  return records.sort((a, b) => a.index - b.index).map(({ index, point, value }) => ({ index, point, value }));
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

it('killed three times, in two processes each time, it ends as if nothing had happened', {
  timeout: 300_000,
}, async () => {
  await ended(start('whole'));
  expect(evaluations('whole')).toHaveLength(EVALUATIONS);
  for (const killAfter of [1, 5, 11]) {
    expect(await ended(start('killed', ['--workers', '2']), killAfter)).toBeNull();
  }
  await ended(start('killed', ['--workers', '2']));
  expect(evaluations('killed')).toEqual(evaluations('whole'));
});

it('two ranks measure what one process measures', { timeout: 300_000 }, async () => {
  await ended(start('one'));
  const port = String(await freePort());
  const ranks = ['0', '1'].map((rank) =>
    start('ranks', [], { RANK: rank, LOCAL_RANK: rank, WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port }),
  );
  await Promise.all(ranks.map((rank) => ended(rank)));
  expect(evaluations('ranks')).toEqual(evaluations('one'));
});

it('a search of mask ratios, killed within a training and after one, ends as if nothing had happened', {
  timeout: 300_000,
}, async () => {
  const train = (out: string): ChildProcess => {
    const words = [
      'search-training',
      join(folder, 'model'),
      '--data',
      join(folder, 'tokens'),
      '--out',
      join(folder, out),
    ];
    const objective = ['--objective', 'likelihood', '--reference', join(folder, 'tokens'), '--num-images', '8'];
    const inner = ['--steps', '8', '--global-batch', '4', '--lr', '0.01', '--threads', '1'];
    const all = [...words, ...objective, ...inner, '--budget-evaluations', '4', '--confirm', '1', '--json'];
    return spawn(process.execPath, [BIN, ...all]);
  };
  await ended(train('ratios'));
  // Steps 3 and 8: within the first training, and at the end of one.
  for (const step of [3, 8, 8]) expect(await ended(train('ratios killed'), step)).toBeNull();
  await ended(train('ratios killed'));
  expect(evaluations('ratios killed')).toEqual(evaluations('ratios'));
  const recipe = (out: string): string => readFileSync(join(folder, out, 'recipe.yaml'), 'utf8');
  expect(recipe('ratios killed')).toBe(recipe('ratios'));
});
