import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { lockRun } from './run-lock.ts';

let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lock '));
  lock = join(folder, 'run.lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('is held by one, and given back', () => {
  const unlock = lockRun(folder);
  expect(() => lockRun(folder)).toThrow(`is being written by process ${process.pid} on ${hostname()}`);
  unlock();
  unlock();
  expect(existsSync(lock)).toBe(false);
  lockRun(folder)();
});

it('is taken from a process that is gone, not from another machine', () => {
  writeFileSync(lock, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), started: '' }));
  lockRun(folder)();
  const theirs = JSON.stringify({ pid: 1, host: 'elsewhere', started: '' });
  writeFileSync(lock, theirs);
  expect(() => lockRun(folder)).toThrow('process 1 on elsewhere');
  expect(readFileSync(lock, 'utf8')).toBe(theirs);
});

it('is taken from the same job of Slurm before it was queued again, wherever that ran', () => {
  const of = (id: string, restarts: number): string =>
    JSON.stringify({ pid: 1, host: 'elsewhere', started: '', job: { id, restarts } });
  vi.stubEnv('SLURM_JOB_ID', '17');
  vi.stubEnv('SLURM_RESTART_COUNT', '2');
  for (const theirs of [of('17', 2), of('18', 1)]) {
    writeFileSync(lock, theirs);
    expect(() => lockRun(folder)).toThrow('process 1 on elsewhere');
  }
  writeFileSync(lock, of('17', 1));
  const unlock = lockRun(folder);
  expect(JSON.parse(readFileSync(lock, 'utf8')).job).toEqual({ id: '17', restarts: 2 });
  unlock();
  vi.unstubAllEnvs();
});

it('that cannot be read is refused, not waited for', () => {
  mkdirSync(lock);
  expect(() => lockRun(folder)).toThrow('is being written by another process');
});
