/**
 * The protocols that need Inception, end to end with random weights in the official names: statistics as the reference
 * evaluators exchange them, and every metric of the protocol. Values of the network itself are the parity suite's.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpz, type NpyArray, readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { manualSeed, saveSafetensors, scope } from '@tessera/torch';
import { type EvaluationResult, evaluate, InceptionV3, initialise, makeStatistics, type PipelineEvent } from 'tessera';
import { afterAll, beforeAll, expect, it } from 'vitest';

const COUNT = 5;
const folder = mkdtempSync(join(tmpdir(), 'inception-'));
const at = (name: string): string => join(folder, name);
const inception = at('inception.safetensors');

beforeAll(() => {
  manualSeed(3);
  scope(() => {
    const model = initialise((p) => new InceptionV3(p));
    saveSafetensors(inception, [...model.state]);
    model.dispose();
  });
  for (const [name, salt] of [
    ['a.npz', 1],
    ['b.npz', 7],
  ] as const) {
    const data = Uint8Array.from({ length: COUNT * 24 * 24 * 3 }, (_, i) => 128 + 127 * Math.sin(i * salt * 0.37));
    writeFileSync(at(name), encodeNpz([['arr_0', { dtype: 'uint8', shape: [COUNT, 24, 24, 3], data }]]));
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

async function last(events: AsyncIterable<PipelineEvent>): Promise<EvaluationResult> {
  let result: Record<string, unknown> = {};
  for await (const event of events) if (event.kind === 'result') ({ result } = event);
  return result as unknown as EvaluationResult;
}

it("adm: ADM's file of statistics and pictures gives FID, sFID, Inception Score, precision and recall", async () => {
  await last(makeStatistics({ source: at('a.npz'), out: at('stats.npz'), protocol: 'adm', inception }));
  const arrays: [string, NpyArray][] = ['stats.npz', 'a.npz'].flatMap((name) =>
    withFile(at(name), (reader) => [...readNpz(reader)]),
  );
  writeFileSync(at('VIRTUAL.npz'), encodeNpz(arrays));
  const options = { protocol: 'adm' as const, inception, reference: at('VIRTUAL.npz') };
  const other = await last(evaluate({ ...options, source: at('b.npz'), out: at('adm') }));
  const same = await last(evaluate({ ...options, source: at('a.npz'), resamples: 0, out: at('same') }));
  expect(Object.keys(other.metrics)).toEqual(['FID', 'sFID', 'Inception Score', 'precision', 'recall']);
  const { value, low, high } = other.metrics.sFID!;
  expect(low).toBeLessThan(value);
  expect(high).toBeGreaterThan(value);
  expect(other.metrics.FID!.value).toBeGreaterThan(0);
  expect(other.metrics.FID).toMatchObject({ note: 'of 5 images: too large' });
  expect(other.metrics.FID!.low).toBeLessThan(other.metrics.FID!.value);
  expect(other.metrics['Inception Score']!.high).toBeGreaterThan(other.metrics['Inception Score']!.value);
  expect(same.metrics.FID!.low).toBeUndefined();
  expect(Math.abs(same.metrics.FID!.value)).toBeLessThan(1e-3 * other.metrics.FID!.value);
  expect(Math.abs(same.metrics.sFID!.value)).toBeLessThan(1e-3 * other.metrics.sFID!.value);
  expect(same.metrics.precision!.value).toBe(1);
  expect(same.metrics.recall!.value).toBe(1);
  // At least 1, but for rounding.
  expect(other.metrics['Inception Score']!.value).toBeGreaterThan(1 - 1e-9);
  expect(other.warnings.join()).toMatch(/5 images: the protocol adm takes 50000/);
  expect(other.warnings.join()).toMatch(
    /VIRTUAL.npz is not the reference of the protocol adm \(VIRTUAL_imagenet256_labeled/,
  );
  expect(other.settings).toMatchObject({ input: 'tf1', statistics: 'float64', rounding: 'bytes', classes: 'uniform' });
  expect(JSON.parse(readFileSync(at('adm/result.json'), 'utf8'))).toMatchObject({ protocol: 'adm' });
}, 600_000);
