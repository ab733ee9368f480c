import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { ProcessEvaluators } from './evaluators.ts';
import { parseTerms } from './objective-terms.ts';

test('a signal is listened to once, however many batches are measured', async () => {
  const { signal } = new AbortController();
  const description = { model: 'none', terms: parseTerms('likelihood'), seed: 0 };
  const evaluators = new ProcessEvaluators(description, { count: 0, threads: 1, signal });
  for (let batch = 0; batch < 12; batch++) {
    for await (const _ of evaluators.evaluate(() => undefined)) throw new Error('nothing was asked for');
  }
  expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  evaluators.dispose();
});
