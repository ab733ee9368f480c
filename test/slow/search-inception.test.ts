/** The objectives of a search that need Inception, with random weights in the official names: parts, their sum, a search. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy, Draws, parseStrategy } from '@tessera/schedule';
import { manualSeed, saveSafetensors, scope } from '@tessera/torch';
import { InceptionV3, initialise, openObjective, search, TokenDatasetWriter } from 'tessera';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { TINY_CLASSES, writeTinyModel } from '../../packages/tessera/src/pipelines/tiny-model.test-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'search inception '));
const at = (name: string): string => join(folder, name);
const common = { model: at('model'), reference: at('tokens'), inception: at('inception.safetensors'), seed: 0 };

beforeAll(() => {
  manualSeed(3);
  scope(() => {
    const network = initialise((p) => new InceptionV3(p));
    saveSafetensors(common.inception, [...network.state]);
    network.dispose();
  });
  writeTinyModel(common.model);
  const writer = new TokenDatasetWriter(common.reference, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 6; i++) {
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  }
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true }));

it('measures FID, KID, IS, precision, recall, and a weighted sum of them', async () => {
  const strategy = cosineStrategy({ numSteps: 2 });
  const kinds = ['fid', 'kid', 'is', 'precision', 'recall'] as const;
  const value = async (terms: { kind: (typeof kinds)[number]; weight: number }[]): Promise<number> => {
    const { objective, dispose } = await openObjective({ ...common, terms });
    const { value } = await objective.evaluate(strategy, { numImages: 10, seedBlock: 0 });
    dispose();
    return value;
  };
  const values: number[] = [];
  for (const kind of kinds) values.push(await value([{ kind, weight: 1 }]));
  const [fid, kid, is, precision, recall] = values as [number, number, number, number, number];
  expect(fid).toBeGreaterThan(0);
  expect(Number.isFinite(kid)).toBe(true);
  expect(is).toBeGreaterThan(1 - 1e-9);
  for (const share of [precision, recall]) expect(share >= 0 && share <= 1).toBe(true);
  const weights = [1, 100, -2, -3, -4];
  const sum = await value(kinds.map((kind, i) => ({ kind, weight: weights[i]! })));
  const expected = weights.reduce((total, weight, i) => total + weight * values[i]!, 0);
  expect(Math.abs(sum - expected)).toBeLessThan(1e-4 * (1 + Math.abs(fid)));
}, 600_000);

it('searches by FID and Inception Score', async () => {
  const options = { ...common, objective: 'fid,is:-5', numImages: 10, confirmBlocks: 0, budget: { evaluations: 2 } };
  for await (const _ of search({ ...options, out: at('run') })) {
    // Nothing is looked at.
  }
  const few = search({ ...options, numImages: 9, out: at('few') });
  await expect(
    (async () => {
      for await (const _ of few);
    })(),
  ).rejects.toThrow('is needs at least 10 images an evaluation, got 9');
  const { provenance } = parseStrategy(parseYaml(readFileSync(join(at('run'), 'strategy.yaml'), 'utf8')));
  expect(provenance).toMatchObject({ objective: 'fid + -5·is', evaluations: 2, images: 20 });
}, 600_000);
