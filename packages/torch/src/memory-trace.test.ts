/** The debug mode names the places where tensors that live on were made. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, test, vi } from 'vitest';
import {
  formatLiveTensors,
  keep,
  type LiveTensor,
  listLiveTensors,
  memoryStats,
  ones,
  scope,
  type Tensor,
  traceMemory,
  zeros,
} from './index.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function trace(): LiveTensor[][] {
  const reports: LiveTensor[][] = [];
  stops.push(traceMemory((leaks) => reports.push([...leaks])));
  return reports;
}

function makesAndKeeps(): Tensor {
  return keep(ones([2, 3], { dtype: 'float64' }));
}

test('what is kept in a scope is reported at its end with the line that made it, what it returns is not', () => {
  const reports = trace();
  let kept: Tensor | undefined;
  const result = scope(() => {
    scope(() => {
      kept = makesAndKeeps();
    });
    expect(reports).toEqual([]); // only the outermost scope reports
    return ones([4]).add(1);
  });
  expect(reports.length).toBe(1);
  expect(reports[0]).toMatchObject([{ tensor: 'float64 [2, 3]', device: 'cpu', bytes: 48, lost: false }]);
  const lines = reports[0]![0]!.madeAt!.split('\n');
  expect(lines[0]).toMatch(/at makesAndKeeps .*memory-trace\.test\.ts:\d+:\d+/);
  // The next scope has no leaks of its own.
  scope(() => ones([1]).sum().item());
  expect(reports.length).toBe(1);
  for (const x of [result, kept!]) x.dispose();
});

test('a scope that throws reports too', () => {
  const reports = trace();
  let kept: Tensor | undefined;
  expect(() =>
    scope(() => {
      kept = makesAndKeeps();
      throw new Error('mine');
    }),
  ).toThrow('mine');
  expect(reports.length).toBe(1);
  kept!.dispose();
});

test('a tensor that nobody names any more is lost, and reported so', async () => {
  setFlagsFromString('--expose_gc');
  const collect = runInNewContext('gc') as () => void;
  const reports = trace();
  const before = memoryStats().liveTensors;
  (() => {
    zeros([5]); // outside all scopes, and dropped
  })();
  const named = zeros([6]);
  for (let turn = 0; turn < 50 && !listLiveTensors().some((live) => live.lost); turn++) {
    collect();
    await new Promise(setImmediate);
  }
  expect(listLiveTensors().filter((live) => live.lost)).toMatchObject([{ tensor: 'float32 [5]', bytes: 20 }]);
  scope(() => 0);
  expect(reports.at(-1)).toMatchObject([{ tensor: 'float32 [5]', lost: true }]);
  expect(memoryStats().liveTensors).toBe(before + 2); // reported, not freed
  named.dispose();
});

test('on demand, all live tensors; those made before the tracing have no place', () => {
  const early = ones([3]);
  const earlier = listLiveTensors().length;
  trace();
  const late = makesAndKeeps();
  const listed = listLiveTensors();
  expect(listed.length).toBe(earlier + 1);
  expect(listed.some((live) => live.tensor === 'float32 [3]' && live.madeAt === undefined)).toBe(true);
  const text = formatLiveTensors([...listed.filter((live) => live.madeAt !== undefined), listed[0]!]);
  expect(text).toMatch(/^2 tensors live on:\n/);
  expect(text).toMatch(/ {2}1 × float64 \[2, 3\] on cpu, 48 bytes\n {4}at makesAndKeeps/);
  expect(text).toContain('made before the tracing began');
  for (const x of [early, late]) x.dispose();
});

test('the default prints on standard error, and the end of the tracing ends it', () => {
  const printed = vi.spyOn(console, 'error').mockImplementation(() => {});
  const stop = traceMemory();
  const kept = [scope(() => void makesAndKeeps())];
  expect(printed.mock.calls.flat().join('\n')).toContain('1 tensors live on:');
  stop();
  scope(() => void makesAndKeeps());
  expect(printed.mock.calls.length).toBe(1);
  expect(kept.length).toBe(1);
  printed.mockRestore();
});
