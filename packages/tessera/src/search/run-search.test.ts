import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { autonatInitialStrategy, type Strategy } from '@tessera/schedule';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EvaluationRecord, Ledger } from './ledger.ts';
import { type MethodName, startMethod } from './methods.ts';
import { type Objective, weightedSum } from './objective.ts';
import { fullSchedule, resolveBounds } from './parametrisation.ts';
import {
  bestOf,
  type EvaluationJob,
  type EvaluationOutcome,
  type Evaluators,
  runSearch,
  type SearchRun,
} from './run-search.ts';
import { listsOf, searchFrame } from './variables.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'search record '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const parametrisation = fullSchedule(
  listsOf(autonatInitialStrategy(4), 64),
  searchFrame('confidence'),
  resolveBounds(),
);

/** Smallest where every sample temperature is 1.3 and the guidance 0. */
function distanceOf(settings: Strategy, seedBlock: number): number {
  const parts = settings.steps.map((step) => (step.sampleTemperature - 1.3) ** 2 + 0.1 * (step.guidanceScale - 1) ** 2);
  return parts.reduce((sum, part) => sum + part, 0) + 1e-3 * seedBlock;
}

/** Answers several at a time, last first; a second of search each. */
class Backwards implements Evaluators {
  readonly count: number;
  jobs: EvaluationJob[] = [];
  private elapsed = 0;

  constructor(count: number) {
    this.count = count;
  }

  async *evaluate(next: () => EvaluationJob | undefined): AsyncGenerator<EvaluationOutcome> {
    for (;;) {
      const taken: EvaluationJob[] = [];
      for (let job = next(); job !== undefined; job = taken.length < this.count ? next() : undefined) taken.push(job);
      if (taken.length === 0) return;
      this.jobs.push(...taken);
      for (const { index, settings, seedBlock } of taken.reverse()) {
        const value = distanceOf(settings as Strategy, seedBlock);
        yield { index, value, seconds: 1, elapsedSeconds: ++this.elapsed };
      }
    }
  }

  dispose(): void {}
}

interface Changes extends Partial<Omit<SearchRun, 'method'>> {
  name?: MethodName;
  evaluators?: Evaluators;
}

async function run(changes: Changes): Promise<{ records: EvaluationRecord[]; why: string }> {
  const { name = 'cma-es', ledger = new Ledger(undefined), ...rest } = changes;
  const running = runSearch({
    method: startMethod(name, parametrisation, { seed: 5 }),
    parametrisation,
    evaluators: new Backwards(3),
    ledger,
    numImages: 100,
    budget: { evaluations: 40 },
    noise: 'common',
    ...rest,
  });
  const records: EvaluationRecord[] = [];
  let next = await running.next();
  for (; next.done !== true; next = await running.next()) records.push(next.value);
  return { records, why: next.value };
}

const plain = (records: readonly EvaluationRecord[]) =>
  [...records]
    .sort((a, b) => a.index - b.index)
    .map(({ index, phase, point, value }) => ({ index, phase, point, value }));

describe('runSearch', () => {
  it.each(['finite-difference', 'cma-es', 'coordinate', 'trust-region', 'halving'] as const)(
    '%s: a search cut at any evaluation goes on to the same end and measures nothing twice',
    async (name) => {
      const whole = await run({ name });
      expect(whole.records).toHaveLength(40);
      for (const cut of [1, 2, 17, 33]) {
        const path = join(folder, `${cut}.jsonl`);
        await run({ name, ledger: Ledger.open(path), budget: { evaluations: cut } });
        const evaluators = new Backwards(2);
        const resumed = await run({ name, ledger: Ledger.open(path), evaluators });
        expect(evaluators.jobs).toHaveLength(40 - cut);
        expect(plain(resumed.records)).toEqual(plain(whole.records));
      }
    },
  );

  it('finds better schedules than the start', async () => {
    const { records } = await run({ budget: { evaluations: 400 } });
    const start = records.find(({ phase }) => phase === 'start')!;
    expect(bestOf(records)!.value).toBeLessThan(0.2 * start.value);
  });

  it('keeps to a budget of images, minutes or evaluations', async () => {
    const images = await run({ budget: { images: 1950 } });
    expect([images.records.length, images.why]).toEqual([19, 'budget']);
    const minutes = await run({ budget: { minutes: 0.5 }, evaluators: new Backwards(1) });
    expect(minutes.records).toHaveLength(30);
    expect((await run({ budget: { images: 99 } })).records).toEqual([]);
    const done = await run({ name: 'coordinate', budget: {} });
    expect(done.why).toBe('done');
  });

  it('counts the minutes of earlier starts', async () => {
    const path = join(folder, 'minutes.jsonl');
    const options = { evaluators: new Backwards(1), budget: { minutes: 0.2 } };
    await run({ ...options, ledger: Ledger.open(path) });
    const resumed = await run({ budget: { minutes: 0.4 }, evaluators: new Backwards(1), ledger: Ledger.open(path) });
    expect(resumed.records).toHaveLength(24);
  });

  it('gives every candidate the same noise, or each its own', async () => {
    const common = new Backwards(1);
    await run({ evaluators: common });
    expect(new Set(common.jobs.map(({ seedBlock }) => seedBlock))).toEqual(new Set([0]));
    const fresh = new Backwards(1);
    await run({ evaluators: fresh, noise: 'fresh' });
    expect(new Set(fresh.jobs.map(({ seedBlock }) => seedBlock)).size).toBe(40);
  });

  it('measures shares of the images, and compares whole evaluations alone', async () => {
    const evaluators = new Backwards(4);
    const { records } = await run({ name: 'halving', evaluators, numImages: 270, budget: { evaluations: 42 } });
    expect([...new Set(evaluators.jobs.map(({ numImages }) => numImages))].sort((a, b) => a - b)).toEqual([
      10, 30, 90, 270,
    ]);
    expect(bestOf(records)!.share).toBe(1);
    expect(bestOf(records.filter(({ share }) => share < 1))).toBeUndefined();
  });

  it('refuses values that are no numbers', async () => {
    const broken: Evaluators = {
      async *evaluate(next) {
        yield { index: next()!.index, value: Number.NaN, seconds: 0, elapsedSeconds: 0 };
      },
      dispose: () => {},
    };
    await expect(run({ evaluators: broken })).rejects.toThrow('Evaluation 0 (start) gave NaN instead of a number');
  });

  it('counts a candidate that cannot be measured as the worst so far, and never measures it again', async () => {
    const ledger = join(folder, 'failed.jsonl');
    const evaluators = new (class extends Backwards {
      override async *evaluate(next: () => EvaluationJob | undefined): AsyncGenerator<EvaluationOutcome> {
        for await (const outcome of super.evaluate(next)) {
          yield outcome.index === 3 ? { ...outcome, value: Number.NaN, stdError: Number.NaN } : outcome;
        }
      }
    })(1);
    const { records: first } = await run({ evaluators, ledger: Ledger.open(ledger), budget: { evaluations: 9 } });
    const failed = first.find(({ index }) => index === 3)!;
    expect(failed).toMatchObject({ failed: true, value: Math.max(...first.slice(0, 3).map(({ value }) => value)) });
    expect(failed).not.toHaveProperty('stdError');
    expect(bestOf([failed])).toBeUndefined();
    const again = new Backwards(1);
    const options = { evaluators: again, ledger: Ledger.open(ledger), budget: { evaluations: 12 } };
    const { records: second } = await run(options);
    expect(second.slice(0, 9)).toEqual(first);
    expect(again.jobs.map(({ index }) => index)).toEqual([9, 10, 11]);
  });

  it("refuses another search's record", async () => {
    const path = join(folder, 'other.jsonl');
    await run({ name: 'coordinate', ledger: Ledger.open(path), budget: { evaluations: 5 } });
    await expect(run({ ledger: Ledger.open(path) })).rejects.toThrow("the record is another search's");
  });
});

describe('Ledger', () => {
  const record = {
    index: 0,
    phase: 'start',
    point: [1],
    share: 1,
    numImages: 5,
    seedBlock: 0,
    value: 2,
    seconds: 1,
    atSeconds: 1,
  };

  it('drops a line that a kill cut short, at every byte', () => {
    const path = join(folder, 'cut.jsonl');
    const line = `${JSON.stringify({ ...record, index: 1 })}\n`;
    for (let length = 0; length < line.length; length += 7) {
      writeFileSync(path, `${JSON.stringify(record)}\n${line.slice(0, length)}`);
      const ledger = Ledger.open(path);
      expect(ledger.records).toEqual([record]);
      ledger.append({ ...record, index: 1, value: 3 });
      expect(Ledger.open(path).get(1)!.value).toBe(3);
    }
  });

  it.each([
    ['{"index": 0}\n', 'line 1: phase: Invalid input'],
    [`nonsense\n${JSON.stringify(record)}\n`, 'line 1 is broken'],
    [`${JSON.stringify(record)}\n${JSON.stringify(record)}\n`, 'holds evaluation 0 twice'],
    [`${JSON.stringify({ ...record, share: 2 })}\n`, 'share'],
    [`${JSON.stringify({ ...record, more: 1 })}\n`, 'unknown key "more"'],
  ])('refuses %j', (text, message) => {
    const path = join(folder, 'broken.jsonl');
    writeFileSync(path, text);
    expect(() => Ledger.open(path)).toThrow(message);
  });

  it('appends a line each', () => {
    const path = join(folder, 'lines.jsonl');
    appendFileSync(path, '');
    const ledger = Ledger.open(path);
    for (let index = 0; index < 3; index++) ledger.append({ ...record, index });
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(4);
  });
});

describe('weightedSum', () => {
  const constant = (value: number, stdError?: number): Objective => ({ evaluate: async () => ({ value, stdError }) });

  it('adds values with their weights, and errors as if independent', async () => {
    const sum = weightedSum([
      { objective: constant(3, 0.3), weight: 1 },
      { objective: constant(2, 0.2), weight: -2 },
    ]);
    const at = { numImages: 1, seedBlock: 0 };
    expect(await sum.evaluate(autonatInitialStrategy(2), at)).toEqual({ value: -1, stdError: 0.5 });
    const unknown = weightedSum([{ objective: constant(3), weight: 2 }]);
    expect(await unknown.evaluate(autonatInitialStrategy(2), at)).toEqual({ value: 6 });
    expect(() => weightedSum([])).toThrow('Expected at least one objective');
  });
});
