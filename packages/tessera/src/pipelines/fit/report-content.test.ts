import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { shownClasses } from './finish-stage.ts';
import type { FitPlan } from './plan.ts';
import { fitReport } from './report-content.ts';

/** What the report says of the samples of so many classes. */
function saidOf(numClasses: number): string {
  const classes = Array.from({ length: numClasses }, (_, i) => `class ${i}`);
  const training = { totalSteps: 1, globalBatch: 1 };
  const plan = { classes, tokenizer: { mode: 'train', training }, generator: { training } } as unknown as FitPlan;
  const parameters = { tokenizer: 1, generator: 1 };
  const out = join(tmpdir(), 'no such run');
  const { sections } = fitReport({ out, plan, shown: shownClasses(classes), parameters, shippedSamples: undefined });
  return sections[0]!.paragraphs!.join('\n');
}

test('few classes are all shown, of many 64 from everywhere', () => {
  expect(saidOf(2)).toBe('A class a row, in this order: class 0, class 1.');
  expect(saidOf(64)).toMatch(/^A class a row.*class 63\.$/);
  expect(saidOf(1000)).toMatch(/^64 of 1000 classes\. A class a row, in this order: class 0, class 15, class 31,.* class 984\.$/); // biome-ignore format: one row
});
