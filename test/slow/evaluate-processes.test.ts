// Evaluations as processes: killed in the middle and started again, and as two ranks that meet over Gloo. Each must end in
// the result of one process that was left alone, bit for bit.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { encodeNpz } from '@tessera/formats';
import { afterAll, beforeAll, expect, test } from 'vitest';

const TESSERA = join(resolve(dirname(fileURLToPath(import.meta.url)), '../..'), 'packages/tessera/bin/tessera.js');
const LIMIT = { timeout: 120_000 };
const folder = mkdtempSync(join(tmpdir(), 'tessera-evaluate-'));
const at = (name: string): string => join(folder, name);
const started = new Set<ChildProcess>();
let alone: string;

/** Patterns by formula; 400 pictures are four blocks of features. */
function writePictures(name: string, count: number, salt: number, size = 16): string {
  const shape = [count, size, size, 3];
  const data = Uint8Array.from(
    { length: count * size * size * 3 },
    (_, i) => 128 + 127 * Math.sin(i * i * salt * 1e-4),
  );
  writeFileSync(at(name), encodeNpz([['arr_0', { dtype: 'uint8', shape, data }]]));
  return at(name);
}

function start(
  out: string,
  launcher: string[] = [],
  what = [at('samples.npz'), '--reference', at('reference.npz')],
): ChildProcess {
  const words = ['evaluate', ...what, '--protocol', 'local'];
  const settings = ['--resamples', '10', '--json', '--out', out];
  const child = spawn(
    process.execPath,
    [...(launcher.length === 0 ? [] : [TESSERA, ...launcher, '--', process.execPath]), TESSERA, ...words, ...settings],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, OMP_NUM_THREADS: '1' } },
  );
  started.add(child);
  child.once('close', () => started.delete(child));
  return child;
}

function end(child: ChildProcess): Promise<number | null> {
  child.stdout!.resume();
  return new Promise((done) => child.once('close', done));
}

/** Blocks by their path, with when they were written. */
function blocksOf(out: string): Map<string, number> {
  const features = join(out, 'features');
  const blocks = readdirSync(features, { recursive: true }).map(String).filter((name) => name.endsWith('.safetensors')); // biome-ignore format: one row
  return new Map(blocks.map((name) => [name, statSync(join(features, name)).mtimeMs]));
}

beforeAll(async () => {
  writePictures('reference.npz', 300, 3);
  writePictures('samples.npz', 400, 7);
  expect(await end(start(at('alone')))).toBe(0);
  alone = readFileSync(join(at('alone'), 'result.json'), 'utf8');
}, 120_000);
afterAll(() => {
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

test('a killed evaluation goes on with the features that it had', LIMIT, async () => {
  const out = at('killed');
  const child = start(out);
  const ended = new Promise((done) => child.once('close', (_, signal) => done(signal)));
  for await (const line of createInterface({ input: child.stdout! })) {
    const { stage, done } = JSON.parse(line) as { stage?: string; done?: number };
    if (stage === 'samples' && done !== undefined && done > 128) break;
  }
  child.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
  const before = blocksOf(out);
  expect(before.size).toBeGreaterThanOrEqual(4); // three of the reference, one of the samples
  expect(before.size).toBeLessThan(7);
  expect(await end(start(out))).toBe(0);
  expect(readFileSync(join(out, 'result.json'), 'utf8')).toBe(alone);
  const after = blocksOf(out);
  expect(after.size).toBe(7);
  for (const [name, written] of before) expect(after.get(name), name).toBe(written);
});

test('two ranks end in the bits of one', LIMIT, async () => {
  const out = at('ranks');
  expect(await end(start(out, ['launch', '--nproc-per-node', '2']))).toBe(0);
  expect(readFileSync(join(out, 'result.json'), 'utf8')).toBe(alone);
  expect(blocksOf(out).size).toBe(7);
});

test('a curve of two ranks ends in the bits of one', LIMIT, async () => {
  const model = join(dirname(TESSERA), '../../models-emoji/emoji-32');
  const reference = writePictures('reference-32.npz', 130, 3, 32);
  const drawn = ['--num-images', '130', '--strategy', 'cosine', '--num-steps', '2', '--sweep', 'guidance-scale=1,3'];
  const curve = [model, ...drawn, '--reference', reference];
  expect(await end(start(at('curve'), [], curve))).toBe(0);
  expect(await end(start(at('curve by two'), ['launch', '--nproc-per-node', '2'], curve))).toBe(0);
  const [one, two] = ['curve', 'curve by two'].map((out) => readFileSync(join(at(out), 'result.json'), 'utf8'));
  expect(JSON.parse(one!).sweep.points).toHaveLength(2);
  expect(two).toBe(one);
});
