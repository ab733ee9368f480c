import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  autonatInitialStrategy,
  cosineStrategy,
  Draws,
  maskCounts,
  parseStrategy,
  type Strategy,
} from '@tessera/schedule';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse as parseYaml, stringify as stringifyYaml } from 'yaml';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { EvaluationRecord } from '../search/ledger.ts';
import { lockRun } from '../training/run-lock.ts';
import { chooseSampling } from './choose-strategy.ts';
import type { PipelineEvent } from './events.ts';
import { parseTerms } from './search/objective-terms.ts';
import { openObjective } from './search/open-objective.ts';
import type { SearchOptions } from './search/resolve-search.ts';
import { hashModel, hashReference } from './search/search-plan.ts';
import { search } from './search.ts';
import { TINY_CLASSES, writeTinyGpt, writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let model: string;
let gpt: string;
let tokens: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'search '));
  model = join(folder, 'model');
  gpt = join(folder, 'gpt');
  tokens = join(folder, 'tokens');
  writeTinyModel(model);
  writeTinyGpt(gpt, model);
  const writer = new TokenDatasetWriter(tokens, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 12; i++)
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(out: string, changes: Partial<SearchOptions> = {}): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  const options: SearchOptions = {
    model,
    out: join(folder, out),
    objective: 'likelihood',
    reference: tokens,
    numImages: 6,
    confirmBlocks: 2,
    budget: { evaluations: 12 },
    ...changes,
  };
  for await (const event of search(options)) events.push(event);
  return events;
}

function resultOf(events: readonly PipelineEvent[]): Record<string, unknown> {
  const last = events.at(-1)!;
  if (last.kind !== 'result') throw new Error('expected a result');
  return last.result;
}

function recordsIn(out: string): Pick<EvaluationRecord, 'index' | 'point' | 'value'>[] {
  const lines = readFileSync(join(folder, out, 'evaluations.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const records = lines.map((line) => JSON.parse(line) as EvaluationRecord);
  return records.map(({ index, point, value }) => ({ index, point, value }));
}

describe('search', () => {
  it('goes on where it was cut, to the same evaluations and the same strategy', async () => {
    await run('whole');
    await run('cut', { budget: { evaluations: 5 } });
    const ledger = join(folder, 'cut', 'evaluations.jsonl');
    writeFileSync(ledger, readFileSync(ledger).subarray(0, -9));
    await run('cut');
    expect(recordsIn('cut')).toEqual(recordsIn('whole'));
    const strategies = ['cut', 'whole'].map((out) => readFileSync(join(folder, out, 'strategy.yaml'), 'utf8'));
    expect(strategies[0]).toBe(strategies[1]);
  });

  it('writes a strategy with its provenance that sampling takes by file, folder and name, and the official file', async () => {
    const { value, provenance, confirmation } = resultOf(await run('named', { saveAs: 'found', numSteps: 5 }));
    const content = parseYaml(readFileSync(join(folder, 'named', 'strategy.yaml'), 'utf8'));
    const strategy = parseStrategy(content);
    expect(strategy.provenance).toMatchObject({
      ...(provenance as object),
      value,
      seed: 0,
      evaluations: 12,
      images: 72,
    });
    expect(value).toBe(Math.min(...recordsIn('named').map((record) => record.value)));
    expect(strategy.provenance!.modelHash).toBe(await hashModel(model));
    expect(strategy.numSteps).toBe(5);
    for (const name of ['found', join(folder, 'named'), join(folder, 'named', 'strategy.yaml')]) {
      expect(chooseSampling({ strategy: name }, undefined, 'masked', model)).toEqual(strategy);
    }
    const official = chooseSampling(
      { strategy: join(folder, 'named', 'strategy.autonat.yaml') },
      undefined,
      'masked',
    ) as Strategy;
    expect(official.steps).toEqual(strategy.steps);
    expect(maskCounts(official, 16)).toEqual(maskCounts(strategy, 16));
    expect(() => chooseSampling({ strategy: 'fuond' }, undefined, 'masked', model)).toThrow('did you mean "found"?');
    const { start, best, difference } = confirmation as Record<string, { values: number[]; mean: number }>;
    expect(difference!.mean).toBeCloseTo(best!.mean - start!.mean, 12);
    expect(start!.values).toHaveLength(2);
    expect(readFileSync(join(folder, 'named', 'report.html'), 'utf8')).toContain('manual_cfg');
  });

  it("leaves the original's files after finite differences", async () => {
    // T = 2: a base, six probes, the next base.
    const options = { method: 'finite-difference', numSteps: 2, budget: { evaluations: 8 }, confirmBlocks: 0 } as const;
    await run('original', options);
    const table = readFileSync(join(folder, 'original', 'search.csv'), 'utf8').split('\n');
    expect(table[0]).toBe('phase,manual_ratios,manual_temp,manual_samp_temp,manual_cfg,fid6,lr,iter');
    expect(table.map((line) => line.split(',')[0])).toEqual([
      ...['phase', 'stp_0', ...[0, 1, 2, 3, 4, 5].map((i) => `grad_est_${i}_stp_0`), 'stp_1', ''],
    ]);
    const first = parseYaml(readFileSync(join(folder, 'original', 'searched_strategies', 'stp_0.yaml'), 'utf8'));
    const { steps } = autonatInitialStrategy(2);
    expect(first.manual_cfg).toEqual(steps.map((step) => step.guidanceScale - 1));
    expect(existsSync(join(folder, 'original', 'searched_strategies', 'stp_1.yaml'))).toBe(true);
  });

  it('moves by the rates, the momentum and the clip that it is given, and as often as it is told', async () => {
    const rates = { ratioRate: 0.02, otherRate: 0.3, momentum: 0.25, clip: 0.05, maxUpdates: 2 };
    const options = {
      method: 'finite-difference',
      numSteps: 2,
      budget: { evaluations: 99 },
      confirmBlocks: 0,
    } as const;
    const events = await run('by rates', { ...options, ...rates });
    expect(events).toContainEqual({ kind: 'note', message: 'The method finite-difference has nothing more to try.' });
    const records = recordsIn('by rates');
    expect(records).toHaveLength(15);
    let velocity: number[] | undefined;
    for (const update of [0, 1]) {
      const [base, ...probes] = records.slice(7 * update, 7 * update + 7) as [(typeof records)[0], ...typeof records];
      const clipped = probes.map(({ point, value }, i) => {
        const slope = (value - base.value) / (point[i]! - base.point[i]!);
        return Math.min(0.05, Math.max(-0.05, slope));
      });
      velocity = clipped.map((g, i) => (velocity === undefined ? g : 0.25 * velocity[i]! + g));
      const next = base.point.map((x, i) => x - (i === 0 ? 0.02 : 0.3) * velocity![i]!);
      for (const [i, x] of records[7 * update + 7]!.point.entries()) expect(x).toBeCloseTo(next[i]!, 12);
    }
  });

  it('begins finite differences at the start as it is, also above the highest ratio that updates may reach', async () => {
    const options = {
      method: 'finite-difference',
      numSteps: 12,
      budget: { evaluations: 1 },
      confirmBlocks: 0,
    } as const;
    await run('many steps', options);
    expect(recordsIn('many steps')[0]!.point[0]).toBe(Math.cos(Math.PI / 24));
  });

  it("writes the original's file of a step when the step is made, best or not", async () => {
    const out = join(folder, 'step by step');
    const options = { model, out, objective: 'likelihood', reference: tokens, numImages: 6, numSteps: 2 };
    const running = search({ ...options, method: 'finite-difference', otherRate: 3, budget: { evaluations: 22 } });
    for await (const event of running) {
      if (event.kind !== 'progress' || event.stage !== 'search') continue;
      const bases = Math.ceil(event.done / 7);
      expect(existsSync(join(out, 'searched_strategies', `stp_${bases - 1}.yaml`))).toBe(true);
    }
    const values = recordsIn('step by step').map(({ value }) => value);
    expect(values.indexOf(Math.min(...values))).toBeLessThan(21);
  });

  it("writes no official file of an order that the original's file cannot say", async () => {
    const { files } = resultOf(await run('halton', { start: 'halton', budget: { evaluations: 1 }, confirmBlocks: 0 }));
    expect(Object.keys(files as object)).not.toContain('official');
  });

  it('refuses to replace its own start', async () => {
    const options = { budget: { evaluations: 1 }, confirmBlocks: 0 };
    await run('begun', { ...options, saveAs: 'begun' });
    await expect(run('further', { ...options, start: 'begun', saveAs: 'begun' })).rejects.toThrow(
      'would replace --start',
    );
    for (const start of [join(folder, 'begun'), join(folder, 'begun', 'strategy.yaml')]) {
      await expect(run('begun', { ...options, start })).rejects.toThrow('would replace its --start');
    }
  });

  it('searches the settings of an autoregressive model by drawn images', async () => {
    const options = { model: gpt, objective: 'fd-local', budget: { evaluations: 4 }, confirmBlocks: 0 };
    const { files, value } = resultOf(await run('gpt', options)) as { files: Record<string, string>; value: number };
    expect(value).toBeGreaterThan(0);
    expect(Object.keys(files)).toEqual(['strategy', 'report']);
    const settings = chooseSampling({ strategy: files.strategy! }, undefined, 'autoregressive');
    expect(settings).toMatchObject({ kind: 'autoregressive', provenance: { objective: 'fd-local' } });
    expect(() => chooseSampling({ strategy: files.strategy! }, undefined, 'masked')).toThrow('autoregressive models');
  });

  it.each([
    [{ budget: {} }, 'Expected a budget'],
    [{ budget: { images: 5 } }, 'does not hold one evaluation of 6 images'],
    [{ reference: undefined }, 'likelihood needs something to compare with'],
    [{ reference: 'nowhere' }, 'Expected a token data set at nowhere'],
    [{ objective: 'fid' }, 'need the Inception weights'],
    [{ objective: 'fdlocal' }, 'did you mean "fd-local"?'],
    [{ objective: 'likelihood:0' }, 'Expected a weight other than 0'],
    [{ bounds: { guidance: [2, 1] as [number, number] } }, 'Expected bounds of guidance'],
    [{ method: 'finite-difference' as const, parametrisation: 'smooth' as const }, 'moves all 4T − 2 numbers'],
    [{ knots: 9, numSteps: 4 }, 'Expected 1 to 4 knots for 4 steps'],
    [{ momentum: 0.1 }, '--momentum belongs to the method finite-difference'],
    [{ method: 'coordinate' as const, population: 9 }, '--population belongs to trust-region, cma-es and halving'],
    [{ saveAs: '../x' }, 'Expected a name of letters'],
    [{ bounds: { topP: [0, 1] as [number, number] } }, 'got those of topP'],
    [{ bounds: { guidance: [0, Number.POSITIVE_INFINITY] as [number, number] } }, 'got 0 and Infinity'],
    [{ bounds: { guidance: [0, 1e6] as [number, number] } }, '≤ 100000, got 0 and 1000000'],
    [{ method: 'halving' as const, objective: 'fd-local', numImages: 40 }, 'at least 41 images an evaluation, got 40'],
  ])('refuses %j', async (changes, message) => {
    await expect(run('refused', changes)).rejects.toThrow(message);
    rmSync(join(folder, 'refused'), { recursive: true, force: true });
  });

  it('begins anew where wrong options have measured nothing', async () => {
    await expect(run('anew', { reference: 'nowhere' })).rejects.toThrow('Expected a token data set at nowhere');
    await run('anew', { budget: { evaluations: 1 }, confirmBlocks: 0 });
    await expect(run('anew', { reference: 'nowhere' })).rejects.toThrow(/begun with other settings/);
  });

  it('refuses masked options for autoregressive models, and likelihood', async () => {
    await expect(run('refused', { model: gpt, numSteps: 4 })).rejects.toThrow('--num-steps belongs to masked models');
    await expect(run('refused', { model: gpt })).rejects.toThrow('likelihood measures masked models');
    rmSync(join(folder, 'refused'), { recursive: true, force: true });
  });

  it('refuses workers among ranks', async () => {
    vi.stubEnv('RANK', '0');
    vi.stubEnv('WORLD_SIZE', '2');
    await expect(run('refused', { workers: 2 })).rejects.toThrow('without workers (got 2)');
    vi.unstubAllEnvs();
  });

  it('compares with the start as it was given, not with the curves that come near it', async () => {
    const start = join(folder, 'uneven.yaml');
    const strategy = cosineStrategy({ numSteps: 6, guidanceScale: 2 });
    const uneven = { ...strategy, steps: strategy.steps.map((step, i) => ({ ...step, guidanceScale: 1 + (i % 2) })) };
    writeFileSync(start, stringifyYaml(uneven));
    const { confirmation } = resultOf(await run('uneven', { start, budget: { evaluations: 1 }, confirmBlocks: 1 }));
    const { objective, dispose } = await openObjective({
      model,
      reference: tokens,
      seed: 0,
      terms: parseTerms('likelihood'),
    });
    const { value } = await objective.evaluate(parseStrategy(uneven), { numImages: 6, seedBlock: 2 ** 19 });
    dispose();
    expect((confirmation as { start: { values: number[] } }).start.values).toEqual([value]);
  });

  it.each(['cma-es', 'finite-difference'] as const)(
    '%s does not guide a network without a null class',
    async (method) => {
      const alone = join(folder, `alone ${method}`);
      writeTinyModel(alone);
      const config = join(alone, 'config.json');
      writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), nullClass: false }));
      const out = `unguided ${method}`;
      const options = { model: alone, method, numSteps: 2, budget: { evaluations: 9 }, confirmBlocks: 1 };
      await run(out, options);
      const { steps } = parseStrategy(parseYaml(readFileSync(join(folder, out, 'strategy.yaml'), 'utf8')));
      expect(steps.map(({ guidanceScale }) => guidanceScale)).toEqual([1, 1]);
      // Guidance is not even probed: a base, four probes, the next base.
      if (method === 'finite-difference') expect(recordsIn(out).length).toBe(9);
      const bounds = { guidance: [0, 1] as [number, number] };
      await expect(run('refused', { ...options, bounds })).rejects.toThrow('cannot be guided');
    },
  );

  it('holds finite differences within bounds', async () => {
    const bounds = { sampleTemperatures: [1, 1] as [number, number], choiceTemperatures: [0.9, 1] as [number, number] };
    const options = { method: 'finite-difference', numSteps: 2, bounds, budget: { evaluations: 12 } } as const;
    await run('bounded', options);
    const points = recordsIn('bounded').map(({ point }) => point);
    expect(new Set(points.flatMap((point) => [point[2], point[3]]))).toEqual(new Set([1]));
    expect(Math.max(...points.map((point) => point[1]!))).toBeLessThanOrEqual(1);
    expect(Math.min(...points.map((point) => point[1]!))).toBeGreaterThanOrEqual(0.9);
  });

  it('lets one process at a time search in a folder', async () => {
    const out = join(folder, 'busy');
    mkdirSync(out);
    const unlock = lockRun(out);
    await expect(run('busy')).rejects.toThrow('is being written by process');
    unlock();
    await run('busy', { budget: { evaluations: 1 }, confirmBlocks: 0 });
    expect(existsSync(join(out, 'run.lock'))).toBe(false);
  });

  it('names the field that differs, and refuses another reference of the same name', async () => {
    const reference = join(folder, 'moving');
    const write = (rows: number, madeFrom?: string): void => {
      rmSync(reference, { recursive: true, force: true });
      const classes = TINY_CLASSES;
      const writer = new TokenDatasetWriter(reference, { gridSize: 4, codebookSize: 32, classes, madeFrom });
      for (let i = 0; i < rows; i++) writer.add(i % 3, new Array<number>(16).fill(i));
      writer.finish();
    };
    write(6);
    const options = { reference, budget: { evaluations: 1 }, confirmBlocks: 0 };
    await run('moved', options);
    await expect(run('moved', { ...options, seed: 7 })).rejects.toThrow('objective.seed: 0 there, 7 now');
    write(9);
    await expect(run('moved', options)).rejects.toThrow(`${reference} has changed since the search`);
    write(6, 'another tokenizer');
    await expect(run('moved', options)).rejects.toThrow(`${reference} has changed since the search`);
    // As a version left it that did not keep what tells references apart.
    const path = join(folder, 'moved', 'search.json');
    const { referenceHash, ...plan } = JSON.parse(readFileSync(path, 'utf8'));
    expect(referenceHash).toMatch(/^[0-9a-f]{64}$/);
    writeFileSync(path, JSON.stringify(plan));
    await run('moved', options);
  });

  it("sees changes behind links, and of the FID's network", async () => {
    const reference = join(folder, 'linked');
    const behind = join(folder, 'behind');
    for (const path of [reference, behind]) mkdirSync(path);
    writeFileSync(join(behind, 'a.png'), '1');
    symlinkSync(behind, join(reference, 'folder'));
    symlinkSync(join(behind, 'a.png'), join(reference, 'b.png'));
    symlinkSync(reference, join(behind, 'round'));
    const before = await hashReference(reference);
    writeFileSync(join(behind, 'a.png'), '22');
    expect(await hashReference(reference)).not.toBe(before);

    const options = { inception: join(folder, 'network.pth'), budget: { evaluations: 1 }, confirmBlocks: 0 };
    writeFileSync(options.inception, 'a');
    await run('network', options);
    writeFileSync(options.inception, 'b');
    await expect(run('network', options)).rejects.toThrow(`${options.inception} has changed since the search`);
  });

  it('refuses other settings, and weights that have changed', async () => {
    const copy = join(folder, 'copy');
    writeTinyModel(copy);
    const options = { model: copy, budget: { evaluations: 2 }, confirmBlocks: 0 };
    await run('changed', options);
    await expect(run('changed', { ...options, numImages: 7 })).rejects.toThrow('numImages: 6 there, 7 now');
    const weights = join(copy, 'model.safetensors');
    const bytes = readFileSync(weights);
    bytes[bytes.length - 2]! ^= 1;
    writeFileSync(weights, bytes);
    await expect(run('changed', options)).rejects.toThrow('have changed since the search');
  });
});
