/** Objectives by themselves: their names, the classes of their images, the likelihood along a path. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy, Draws, parseStrategy } from '@tessera/schedule';
import { noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TokenDatasetWriter } from '../../data/token-dataset.ts';
import type { MaskedModel } from '../../models/family.ts';
import { TINY_CLASSES, writeTinyModel } from '../tiny-model.test-support.ts';
import { parseTerms } from './objective-terms.ts';
import { openObjective } from './open-objective.ts';
import { labelOfImage } from './sample-objective.ts';

let folder: string;
let model: string;
let tokens: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'objective '));
  model = join(folder, 'model');
  tokens = join(folder, 'tokens');
  writeTinyModel(model);
  const writer = new TokenDatasetWriter(tokens, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
  const draws = new Draws(3, 0, 0, 0);
  for (let i = 0; i < 12; i++) {
    writer.add(
      i % 3,
      Array.from({ length: 16 }, () => draws.integer(32)),
    );
  }
  writer.finish();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('parseTerms', () => {
  it('makes scores that should be large count negatively', () => {
    expect(parseTerms('fid, recall,is:-0.5')).toEqual([
      { kind: 'fid', weight: 1 },
      { kind: 'recall', weight: -1 },
      { kind: 'is', weight: -0.5 },
    ]);
  });
});

describe('labelOfImage', () => {
  const labels = (numImages: number, numClasses: number, seedBlock = 0): number[] =>
    Array.from({ length: numImages }, (_, i) => labelOfImage(i, { numImages, numClasses, seedBlock }));

  it('goes round the classes, and takes few images evenly from all of them', () => {
    expect(labels(7, 3)).toEqual([0, 1, 2, 0, 1, 2, 0]);
    expect(labels(3, 3, 5)).toEqual([0, 1, 2]);
    expect(labels(4, 10)).toEqual([0, 2, 5, 7]);
    for (let block = 1; block < 50; block++) {
      const some = labels(37, 1000, block);
      expect(some).not.toEqual(labels(37, 1000));
      expect(Math.max(...some)).toBeLessThan(1000);
      for (const [i, label] of some.entries()) expect(Math.floor((label * 37 + 36) / 1000)).toBeGreaterThanOrEqual(i);
    }
  });
});

describe('openObjective', () => {
  const description = { reference: '', seed: 0, terms: parseTerms('likelihood') };

  it('likelihood: one unguided step is the mean −log p of all tokens under the model', async () => {
    const { objective, folder: opened, dispose } = await openObjective({ ...description, model, reference: tokens });
    const one = cosineStrategy({ numSteps: 1, sampleTemperature: 2 });
    const { value, stdError } = await objective.evaluate(one, { numImages: 12, seedBlock: 0 });
    const expected = noGrad(() =>
      scope(() => {
        const network = opened.model as MaskedModel;
        const draws = new Draws(3, 0, 0, 0);
        const rows = Array.from({ length: 12 }, () => Array.from({ length: 16 }, () => draws.integer(32)));
        const labels = tensor(
          rows.map((_, i) => i % 3),
          'int64',
        );
        const session = network.startSession(labels, false);
        const all = tensor(
          rows.map((row) => row.map(() => network.maskToken)),
          'int64',
        );
        const masked = tensor(
          rows.map((row) => row.map((_, i) => i)),
          'int64',
        );
        const { cond } = session.predict({ tokens: all, masked, fresh: undefined }, 'done');
        const log = cond.div(2).logSoftmax(-1).gather(-1, tensor(rows, 'int64').unsqueeze(-1));
        const mean = log.mean().neg().item();
        session.dispose();
        return mean;
      }),
    );
    expect(value).toBeCloseTo(expected, 5);
    expect(stdError).toBeGreaterThan(0);
    dispose();
  });

  it('likelihood: a token counts at the step that fixes it, which sees the true tokens fixed before', async () => {
    const { objective, folder: opened, dispose } = await openObjective({ ...description, model, reference: tokens });
    // The least confident 9 of 16 wait for the second step; no noise on the confidence.
    const strategy = parseStrategy({
      ...cosineStrategy({ numSteps: 2 }),
      steps: [
        { maskRatio: 9.5 / 16, sampleTemperature: 2, choiceTemperature: 0, guidanceScale: 1 },
        { maskRatio: 0, sampleTemperature: 0.5, choiceTemperature: 0, guidanceScale: 1 },
      ],
    });
    const { value } = await objective.evaluate(strategy, { numImages: 1, seedBlock: 0 });
    const expected = noGrad(() =>
      scope(() => {
        const network = opened.model as MaskedModel;
        const draws = new Draws(3, 0, 0, 0);
        const row = Array.from({ length: 16 }, () => draws.integer(32));
        const ids = (values: readonly number[]) => tensor([[...values]], 'int64');
        const session = network.startSession(tensor([0], 'int64'), false);
        const everywhere = row.map((_, i) => i);
        const first = session.predict(
          { tokens: ids(row.map(() => network.maskToken)), masked: ids(everywhere), fresh: undefined },
          'done',
        ).cond;
        const own = (logits: Tensor, at: readonly number[], temperature: number): number[] =>
          logits
            .div(temperature)
            .logSoftmax(-1)
            .gather(-1, ids(at.map((i) => row[i]!)).unsqueeze(-1))
            .toNumbers();
        const confidence = own(first, everywhere, 1);
        const byConfidence = [...everywhere].sort((a, b) => confidence[a]! - confidence[b]!);
        const waiting = byConfidence.slice(0, 9).sort((a, b) => a - b);
        const fixed = byConfidence.slice(9).sort((a, b) => a - b);
        const seen = row.map((id, i) => (waiting.includes(i) ? network.maskToken : id));
        const second = session.predict({ tokens: ids(seen), masked: ids(waiting), fresh: ids(fixed) }, 'done').cond;
        const early = own(first, everywhere, 2).filter((_, i) => fixed.includes(i));
        const sum = [...early, ...own(second, waiting, 0.5)].reduce((total, x) => total + x, 0);
        session.dispose();
        return -sum / 16;
      }),
    );
    expect(value).toBeCloseTo(expected, 5);
    dispose();
  });

  it('likelihood: takes rows evenly from data that are sorted by class, and others for another block', async () => {
    const sorted = join(folder, 'sorted');
    const writer = new TokenDatasetWriter(sorted, { gridSize: 4, codebookSize: 32, classes: TINY_CLASSES });
    for (let i = 0; i < 12; i++) writer.add(Math.floor(i / 4), new Array<number>(16).fill(i));
    writer.finish();
    const { objective, folder: opened, dispose } = await openObjective({ ...description, model, reference: sorted });
    const classes: number[][] = [];
    const network = opened.model as MaskedModel;
    const startSession = network.startSession.bind(network);
    vi.spyOn(network, 'startSession').mockImplementation((labels, guided) => {
      classes.push(labels.toNumbers());
      return startSession(labels, guided);
    });
    const values: number[] = [];
    for (const seedBlock of [0, 1]) {
      const { value } = await objective.evaluate(cosineStrategy({ numSteps: 1 }), { numImages: 3, seedBlock });
      values.push(value);
    }
    expect(classes).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
    expect(values[1]).not.toBe(values[0]);
    dispose();
  });

  it('gives equal values for equal noise, others for another block, whatever the batch', async () => {
    const strategy = cosineStrategy({ numSteps: 3, guidanceScale: 2 });
    const terms = parseTerms('fd-local,likelihood:2');
    const values: number[] = [];
    for (const batch of [4, 64]) {
      const opened = await openObjective({ model, reference: tokens, seed: 1, terms, batch });
      for (const seedBlock of [0, 0, 1]) {
        const { value } = await opened.objective.evaluate(strategy, { numImages: 10, seedBlock });
        values.push(value);
      }
      opened.dispose();
    }
    expect(values[1]).toBe(values[0]);
    expect(values[2]).not.toBeCloseTo(values[0]!, 3);
    expect(values[3]).toBeCloseTo(values[0]!, 3);
  });
});
