import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkpointName, findCheckpoints, pruneCheckpoints, writeCheckpoint } from './checkpoint.ts';

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'tessera checkpoint ')), 'checkpoints');
});
afterEach(() => {
  rmSync(join(folder, '..'), { recursive: true });
});

const CONTENT = { 'model.safetensors': 'weights', 'ema.safetensors': 'averages', 'state.json': '{"step":1}' };

async function write(step: number, content: Record<string, string> = CONTENT): Promise<string> {
  const files = Object.entries(content).map(
    ([name, text]) => [name, (path: string) => writeFileSync(path, text)] as const,
  );
  return (await writeCheckpoint(folder, step, files)).path;
}

const steps = () => findCheckpoints(folder).checkpoints.map((checkpoint) => checkpoint.step);

test('what is written is found, oldest first', async () => {
  for (const step of [20, 5, 12_345_678]) await write(step);
  expect(steps()).toEqual([5, 20, 12_345_678]);
  expect(readdirSync(folder)).toEqual(['step-0000005', 'step-0000020', 'step-12345678']);
  expect(readFileSync(join(folder, checkpointName(5), 'ema.safetensors'), 'utf8')).toBe('averages');
  expect(findCheckpoints(join(folder, 'missing'))).toEqual({ checkpoints: [], warnings: [] });
});

test('the same step can be written again', async () => {
  await write(5);
  await write(5, { 'state.json': 'new' });
  expect(steps()).toEqual([5]);
  expect(readdirSync(join(folder, 'step-0000005'))).toEqual(['manifest.json', 'state.json']);
});

describe('a damaged checkpoint is ignored, named and removed', () => {
  const cases: [string, (path: string) => void, string][] = [];
  for (const name of Object.keys(CONTENT)) {
    cases.push(
      [`${name} cut short`, (path) => truncateSync(join(path, name), 3), `${name}: expected`],
      [`${name} missing`, (path) => rmSync(join(path, name)), `no ${name}`],
      [`${name} altered`, (path) => flipFirstByte(join(path, name)), `${name}: its SHA-256 differs`],
    );
  }
  cases.push(
    ['the manifest missing', (path) => rmSync(join(path, 'manifest.json')), 'no manifest.json'],
    ['the manifest cut short', (path) => truncateSync(join(path, 'manifest.json'), 20), 'manifest.json is damaged'],
    ['the manifest empty', (path) => truncateSync(join(path, 'manifest.json'), 0), 'manifest.json is damaged'],
    ['the manifest of another format', (path) => writeFileSync(join(path, 'manifest.json'), '[]'), 'is damaged'],
  );
  test.each(cases)('%s', async (_what, damage, reason) => {
    await write(5);
    damage(await write(10));
    const { checkpoints, warnings } = findCheckpoints(folder);
    expect(checkpoints.map((checkpoint) => checkpoint.step)).toEqual([5]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('step-0000010');
    expect(warnings[0]).toContain(reason);
    expect(readdirSync(folder)).toEqual(['step-0000005']);
  });
});

test('what cannot be read now, or is newer than this program, is left alone', async () => {
  await write(5);
  const manifest = join(await write(10), 'manifest.json');
  const text = readFileSync(manifest, 'utf8');
  writeFileSync(manifest, text.replace('"formatVersion": 1', '"formatVersion": 2'));
  expect(() => findCheckpoints(folder)).toThrow('format version 2, this program reads 1');
  // As a disk with errors: not a file any more.
  rmSync(manifest);
  mkdirSync(manifest);
  expect(() => findCheckpoints(folder)).toThrow('cannot be read now (EISDIR');
  expect(readdirSync(folder)).toEqual(['step-0000005', 'step-0000010']);
  rmSync(manifest, { recursive: true });
  writeFileSync(manifest, text);
  expect(steps()).toEqual([5, 10]);
});

test('the trace of a kill while writing goes without a warning', async () => {
  await write(5);
  mkdirSync(join(folder, '.writing-step-0000010'));
  writeFileSync(join(folder, '.writing-step-0000010', 'model.safetensors'), 'half');
  expect(findCheckpoints(folder)).toMatchObject({ checkpoints: [{ step: 5 }], warnings: [] });
  expect(readdirSync(folder)).toEqual(['step-0000005']);
});

test('a full disk leaves the checkpoints before untouched and nothing of the new one', async () => {
  await write(5);
  const full = (path: string): never => {
    writeFileSync(path, 'as much as fitted');
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  const files = new Map([
    ['model.safetensors', (path: string) => writeFileSync(path, 'weights')],
    ['ema.safetensors', full],
  ]);
  await expect(writeCheckpoint(folder, 10, files)).rejects.toThrow(
    expect.objectContaining({ code: 'CHECKPOINT_WRITE', message: expect.stringContaining('no space left on device') }),
  );
  expect(readdirSync(folder)).toEqual(['step-0000005']);
  expect(steps()).toEqual([5]);
});

test('only the newest are kept', async () => {
  for (const step of [1, 2, 30, 4]) await write(step);
  pruneCheckpoints(folder, 2);
  expect(steps()).toEqual([4, 30]);
  pruneCheckpoints(folder, 5);
  expect(steps()).toEqual([4, 30]);
});

function flipFirstByte(path: string): void {
  const bytes = readFileSync(path);
  bytes[0]! ^= 1;
  writeFileSync(path, bytes);
}
