/** A search from end to end on an AutoNAT model folder, and what is exchanged with an ENAT's. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy, Draws, maskCounts, parseStrategy, type Strategy } from '@tessera/schedule';
import { setNumThreads } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { EvaluationRecord } from '../search/ledger.ts';
import type { PipelineEvent } from './events.ts';
import { sample } from './sample.ts';
import { parseTerms } from './search/objective-terms.ts';
import { openObjective } from './search/open-objective.ts';
import type { SearchOptions } from './search/resolve-search.ts';
import { search } from './search.ts';
import { TINY_CLASSES, writeTinyAutonat, writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let enat: string;
let autonat: string;
let tokens: string;

beforeAll(() => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'search autonat '));
  enat = join(folder, 'enat');
  autonat = join(folder, 'autonat');
  tokens = join(folder, 'tokens');
  writeTinyModel(enat);
  writeTinyAutonat(autonat, enat);
  const writer = new TokenDatasetWriter(tokens, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(5, 0, 0, 0);
  for (let i = 0; i < 9; i++) {
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  }
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(out: string, changes: Partial<SearchOptions> = {}): Promise<Record<string, unknown>> {
  const options: SearchOptions = {
    ...{ model: autonat, out: join(folder, out), reference: tokens, numImages: 8, confirmBlocks: 0 },
    ...{ budget: { evaluations: 10 }, ...changes },
  };
  let result: Record<string, unknown> = {};
  for await (const event of search(options)) if (event.kind === 'result') ({ result } = event);
  return result;
}

const content = (...path: string[]): unknown => parseYaml(readFileSync(join(folder, ...path), 'utf8'));
const recordsIn = (out: string): EvaluationRecord[] =>
  readFileSync(join(folder, out, 'evaluations.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('a search of an AutoNAT', () => {
  it('by finite differences over drawn images: a strategy that sample takes by name, and the official file', async () => {
    const options = { method: 'finite-difference', numSteps: 3, saveAs: 'found' } as const;
    // T = 3: a base and ten probes.
    const { value } = await run('original', { ...options, budget: { images: 8 * 11 } });
    const records = recordsIn('original');
    expect(records.map(({ phase }) => phase)).toEqual([
      'stp_0',
      ...Array.from({ length: 10 }, (_, i) => `grad_est_${i}_stp_0`),
    ]);
    // As in the original, every evaluation has its own noise.
    expect(records.map(({ seedBlock }) => seedBlock)).toEqual(records.map(({ index }) => index));
    expect(value).toBe(Math.min(...records.map((record) => record.value)));
    const found = parseStrategy(content('original', 'strategy.yaml'));
    expect(found).toMatchObject({ numSteps: 3, remask: 'threshold', provenance: { budget: '88 images', seed: 0 } });
    expect(Object.keys(content('original', 'strategy.autonat.yaml') as object)).toEqual([
      ...['manual_ratios', 'manual_temp', 'manual_samp_temp', 'manual_cfg'],
    ]);

    const events: PipelineEvent[] = [];
    for await (const event of sample({
      model: autonat,
      strategy: 'found',
      numImages: 3,
      out: join(folder, 'images'),
    })) {
      events.push(event);
    }
    expect(events.at(-1)).toMatchObject({ kind: 'result', result: { numImages: 3 } });
  });

  it('by smooth schedules of more steps, begun at what was found for fewer; and on to the other family', async () => {
    await run('few', { objective: 'likelihood', numSteps: 3 });
    await run('more', { objective: 'likelihood', numSteps: 5, start: join(folder, 'few') });
    const [few, more] = ['few', 'more'].map((out) => parseStrategy(content(out, 'strategy.yaml')));
    const plan = JSON.parse(readFileSync(join(folder, 'more', 'search.json'), 'utf8'));
    expect(plan).toMatchObject({ numSteps: 5, start: { numSteps: 3, steps: few!.steps } });
    const counts = maskCounts(more!, 16).maskedIn;
    expect(counts).toHaveLength(5);
    for (const [i, count] of counts.slice(1).entries()) expect(count).toBeLessThan(counts[i]!);
    await run('other', { model: enat, objective: 'likelihood', start: join(folder, 'more', 'strategy.autonat.yaml') });
    expect(parseStrategy(content('other', 'strategy.yaml')).numSteps).toBe(5);
    const { start } = JSON.parse(readFileSync(join(folder, 'other', 'search.json'), 'utf8'));
    expect((start as Strategy).steps).toEqual(more!.steps);
  });

  it('leaves curves and the best so far when it is stopped', async () => {
    const abort = new AbortController();
    const options = { model: autonat, out: join(folder, 'stopped'), objective: 'likelihood', reference: tokens };
    const attempt = async (): Promise<void> => {
      const running = search({ ...options, numImages: 8, budget: { evaluations: 10 }, signal: abort.signal });
      for await (const event of running) if (event.kind === 'progress' && event.done === 4) abort.abort();
    };
    await expect(attempt()).rejects.toThrow('aborted');
    expect(readFileSync(join(folder, 'stopped', 'report.html'), 'utf8')).toContain('Best so far');
    const best = Math.min(...recordsIn('stopped').map(({ value }) => value));
    expect(parseStrategy(content('stopped', 'strategy.yaml')).provenance!.value).toBe(best);
  });

  it.each([
    // Infeasible bounds.
    [
      { bounds: { ratios: [0.9, 0.2] as [number, number] } },
      'Expected bounds of ratios with 0 ≤ low ≤ high ≤ 1, got 0.9 and 0.2',
    ],
    [{ bounds: { ratios: [0, 1.5] as [number, number] } }, 'got 0 and 1.5'],
    [{ bounds: { sampleTemperatures: [-1, 2] as [number, number] } }, 'bounds of sampleTemperatures'],
    // An objective without its files.
    [{ objective: 'fd-local', reference: undefined }, 'needs something to compare with'],
    [{ objective: 'fd-local', reference: 'nowhere' }, 'got nothing there'],
    [{ objective: 'fid,is', inception: 'nowhere.pth' }, 'there is nothing at nowhere.pth'],
    [{ objective: 'likelihood', reference: 'nowhere' }, 'Expected a token data set at nowhere'],
    [{ objective: 'recall-local', numImages: 3 }, 'recall-local needs at least 4 images an evaluation, got 3'],
    [{ model: 'nowhere' }, 'nowhere is no model folder'],
    // Another T.
    [{ start: 'wrong.yaml' }, 'wrong.yaml'],
    [{ numSteps: 1, parametrisation: 'smooth' as const }, 'at least 2 steps'],
  ])('refuses %j', async (changes, message) => {
    // Ratios of four steps, guidance of three.
    const lists =
      'manual_ratios: [0.9, 0.6, 0.3]\nmanual_temp: [1, 1, 1]\nmanual_samp_temp: [1, 1, 1, 1]\nmanual_cfg: [1, 1, 1]\n';
    writeFileSync(join(folder, 'wrong.yaml'), lists);
    const start = 'start' in changes ? { start: join(folder, changes.start!) } : {};
    await expect(run('refused', { ...changes, ...start })).rejects.toThrow(message);
    rmSync(join(folder, 'refused'), { recursive: true, force: true });
  });

  it('refuses to go on with another T, an infeasible start, or changed weights', async () => {
    const copy = join(folder, 'copy');
    writeTinyAutonat(copy, enat);
    const options = { model: copy, objective: 'likelihood', numSteps: 3, budget: { evaluations: 1 } };
    await run('changed', options);
    await expect(run('changed', { ...options, numSteps: 4 })).rejects.toThrow('numSteps: 3 there, 4 now');
    const tokenizer = join(copy, 'tokenizer', 'model.safetensors');
    const bytes = readFileSync(tokenizer);
    bytes[bytes.length - 2]! ^= 1;
    writeFileSync(tokenizer, bytes);
    await expect(run('changed', options)).rejects.toThrow(`The weights of ${copy} have changed`);
  });
});

it('a weighted sum is the sum of its parts, whatever they measure', async () => {
  const strategy = cosineStrategy({ numSteps: 2 });
  const value = async (terms: string): Promise<number> => {
    const opened = await openObjective({ model: autonat, reference: tokens, seed: 2, terms: parseTerms(terms) });
    const { value } = await opened.objective.evaluate(strategy, { numImages: 8, seedBlock: 0 });
    opened.dispose();
    return value;
  };
  const [distance, kernel, precision, recall, likelihood] = await Promise.all(
    ['fd-local', 'kid-local', 'precision-local', 'recall-local', 'likelihood'].map(value),
  );
  expect(precision).toBeLessThanOrEqual(0);
  const sum = await value('fd-local:2,kid-local,precision-local:-3,recall-local:0.5,likelihood:-1');
  expect(sum).toBeCloseTo(2 * distance! + kernel! + 3 * precision! - 0.5 * recall! - likelihood!, 4);
});
