import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FitPlan } from './plan.ts';
import { type StageContext, tokenizerStage } from './tokenizer-stage.ts';

let out: string;
beforeAll(() => {
  out = mkdtempSync(join(tmpdir(), 'tokenizer stage '));
});
afterAll(() => rmSync(out, { recursive: true }));

test.each([
  ['keep', 'keeps'],
  ['fine-tune', 'fine-tunes'],
] as const)('a plan to %s the shipped tokenizer is refused where it is not installed', async (mode, does) => {
  const plan = { tokenizer: { mode, reason: 'asked for' } } as FitPlan;
  const context = { out, plan, signal: undefined } as StageContext;
  const running = async () => {
    for await (const _ of tokenizerStage(context, undefined));
  };
  await expect(running()).rejects.toMatchObject({
    code: 'NO_TOKENIZER',
    message: `The plan ${does} the shipped tokenizer, which is not installed.`,
  });
});
