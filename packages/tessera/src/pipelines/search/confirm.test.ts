import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy, type Strategy } from '@tessera/schedule';
import { expect, it } from 'vitest';
import { Ledger } from '../../search/ledger.ts';
import type { EvaluationJob, EvaluationOutcome, Evaluators } from '../../search/run-search.ts';
import { type Confirmation, confirm } from './confirm.ts';

const settings = { start: cosineStrategy({ numSteps: 2 }), best: cosineStrategy({ numSteps: 3 }) };

/** Last first, and dead after `most` answers. */
function backwards(most: number, jobs: EvaluationJob[]): Evaluators {
  return {
    async *evaluate(next): AsyncGenerator<EvaluationOutcome> {
      const taken: EvaluationJob[] = [];
      for (let job = next(); job !== undefined; job = next()) taken.push(job);
      for (const job of taken.reverse().slice(0, most)) {
        jobs.push(job);
        const value = 10 * (job.settings as Strategy).numSteps + (job.seedBlock % 8) ** 2;
        yield { index: job.index, value, seconds: 1, elapsedSeconds: 1 };
      }
      if (taken.length > most) throw new Error('killed');
    },
    dispose: () => {},
  };
}

async function run(evaluators: Evaluators, ledger: Ledger): Promise<Confirmation> {
  const running = confirm(settings, { evaluators, ledger, numImages: 5, blocks: 3, key: '7' });
  let next = await running.next();
  while (next.done !== true) next = await running.next();
  return next.value;
}

it('measures start and best on the same unseen blocks, and after a kill only what is missing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'confirm '));
  try {
    const path = join(folder, 'confirmation.jsonl');
    const jobs: EvaluationJob[] = [];
    await expect(run(backwards(2, jobs), Ledger.open(path))).rejects.toThrow('killed');
    const { start, best, difference } = await run(backwards(9, jobs), Ledger.open(path));
    expect(jobs).toHaveLength(6);
    expect(new Set(jobs.map(({ seedBlock }) => seedBlock)).size).toBe(3);
    expect(Math.min(...jobs.map(({ seedBlock }) => seedBlock))).toBe(2 ** 19);
    expect([start.values, best.values]).toEqual([
      [20, 21, 24],
      [30, 31, 34],
    ]);
    expect(start.mean).toBeCloseTo(65 / 3, 12);
    // Deviation √(13/3) of three values.
    expect(start.stdError).toBeCloseTo(Math.sqrt(13 / 9), 12);
    expect([difference.mean, difference.stdError]).toEqual([10, 0]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
