import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setNumThreads } from '@tessera/torch';
import { afterAll, expect, it } from 'vitest';
import type { Ranks } from '../training/ranks.ts';
import { type SampleTokensOptions, sampleTokens, sampleTokensOn } from './sample-tokens.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'sample-tokens-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Ranks in one process that meet once. */
function threeRanks(): Ranks[] {
  let here = 0;
  let open = (): void => {};
  const met = new Promise<void>((resolve) => {
    open = resolve;
  });
  const together = async (body: () => unknown): Promise<unknown> => {
    const value = body();
    here += 1;
    if (here === 3) open();
    await met;
    return value;
  };
  const decide = async (body: () => unknown): Promise<unknown> => body();
  return [0, 1, 2].map((rank) => ({ rank, size: 3, isFirst: rank === 0, together, decide }) as unknown as Ranks);
}

it('processes share the images, and one of them writes the file that one alone would write', async () => {
  setNumThreads(1);
  writeTinyModel(join(folder, 'tiny'));
  const weights = join(folder, 'tiny', 'model.safetensors');
  const options = { weights, encoderDepth: 2, numHeads: 2, numImages: 7, seed: 3, batch: 2 };
  const alone = join(folder, 'alone.npy');
  for await (const _ of sampleTokens({ ...options, tokens: alone })) {
    // All of it is in the file.
  }

  const out = join(folder, 'out');
  const tokens = join(out, 'shared.npy');
  const drawn: number[] = [];
  const run = async (ranks: Ranks, own: SampleTokensOptions): Promise<void> => {
    let done = 0;
    for await (const event of sampleTokensOn(own, ranks)) if (event.kind === 'progress') done = event.done;
    drawn[ranks.rank] = done;
  };
  await Promise.all(threeRanks().map((ranks) => run(ranks, { ...options, tokens })));
  expect(drawn).toEqual([2, 2, 3]);
  expect(readdirSync(out)).toEqual(['shared.npy']);
  expect(readFileSync(tokens)).toEqual(readFileSync(alone));
  await expect(sampleTokens({ ...options, tokens }).next()).rejects.toThrow(`${tokens} is there already`);
  const gpt = { ...options, preset: 'gpt-nano' as const, tokens: join(out, 'gpt.npy') };
  await expect(sampleTokens(gpt).next()).rejects.toThrow('expected gpt-nano, got weights of enat');
});
