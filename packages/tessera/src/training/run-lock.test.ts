import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
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

it('that cannot be read is refused, not waited for', () => {
  mkdirSync(lock);
  expect(() => lockRun(folder)).toThrow('is being written by another process');
});
