import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as T from '../index.ts';

const { ones, Profile } = T;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-profile-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface ChromeEvent {
  ph: string;
  name: string;
  ts: number;
  dur: number;
  args: { shapes: string; bytes: number; macs: number };
}

function readTrace(path: string): { traceEvents: ChromeEvent[]; otherData: T.ProfileSummary } {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function work(): void {
  T.scope(() => {
    const x = ones([2, 3]);
    const w = ones([4, 3]).requiresGrad_();
    T.linear(x, w).transpose(0, 1).sum().backward();
  });
}

test('a trace of a tiny run: every operation in order, with shapes, bytes and multiply-accumulates', () => {
  const path = join(folder, 'trace.json');
  work(); // before: not seen
  const profile = new Profile({ trace: path });
  profile.mark('training');
  work();
  expect(existsSync(path)).toBe(false);
  const summary = profile.finish();
  work(); // after: not seen
  expect(readdirSync(folder)).toEqual(['trace.json']);

  const { traceEvents, otherData } = readTrace(path);
  expect(otherData).toEqual(summary);
  expect(traceEvents.slice(0, 2).map(({ ph, name }) => [ph, name])).toEqual([['M', 'process_name'], ['i', 'training']]); // biome-ignore format: one row
  const operations = traceEvents.filter(({ ph }) => ph === 'X');
  expect(operations.map(({ name }) => name)).toEqual(['ones', 'ones', 'linear', 'transpose', 'sum', 'backward']);
  expect(operations[2]!.args).toEqual({ shapes: '[2, 3] [4, 3]', bytes: 4 * (6 + 12 + 8), macs: 24 });
  expect(operations[3]!.args.bytes).toBe(0);
  for (const [i, { ts, dur }] of operations.entries()) {
    expect(dur).toBeGreaterThanOrEqual(0);
    const next = operations[i + 1];
    if (next !== undefined) expect(next.ts).toBeGreaterThanOrEqual(ts + dur - 0.002); // rounding
  }
});

test('the summary adds up by operation, the slowest first', () => {
  const profile = new Profile();
  work();
  work();
  const { operations, milliseconds, eventsLeftOut } = profile.finish();
  const linear = operations.find(({ name }) => name === 'linear')!;
  expect(linear).toMatchObject({ calls: 2, macs: 48, bytes: 2 * 104 });
  const times = operations.map((totals) => totals.milliseconds);
  expect(times).toEqual([...times].sort((a, b) => b - a));
  expect(times.reduce((sum, time) => sum + time, 0)).toBeLessThanOrEqual(milliseconds);
  expect(eventsLeftOut).toBe(0);
});

test('a long run keeps the file bounded and the totals whole', () => {
  const path = join(folder, 'trace.json');
  const profile = new Profile({ trace: path, maxEvents: 1000 });
  T.scope(() => {
    const x = ones([1]);
    for (let i = 0; i < 2000; i++) x.add_(1);
  });
  const { operations, eventsLeftOut } = profile.finish();
  expect(eventsLeftOut).toBe(1001);
  expect(operations.find(({ name }) => name === 'add_')!.calls).toBe(2000);
  expect(readTrace(path).traceEvents.filter(({ ph }) => ph === 'X')).toHaveLength(1000);
});

test('a place that cannot be written fails before the work', () => {
  expect(() => new Profile({ trace: join(folder, 'nowhere', 'trace.json') })).toThrow(/ENOENT/);
  // Nothing went on listening.
  expect(T.scope(() => ones([2]).sum().item())).toBe(2);
});
