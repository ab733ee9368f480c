import { fromTypedArray, scope, type Tensor, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { bootstrapRows } from './bootstrap.ts';
import { trainClassJudge } from './class-judge.ts';
import { statisticsOf } from './feature-statistics.ts';
import { frechetDistance } from './frechet.ts';
import { frechetDistanceOfRows, resamplesWithin } from './frechet-resampling.ts';
import { inceptionScoreOfRows, inceptionScoreOfSplits, splitsOfSize } from './inception-score.ts';
import { kernelDistance } from './kid.ts';
import { memorisation } from './memorisation.ts';
import { metricDraws } from './splits.ts';

/** [N, D] of normal-looking numbers, a function of the seed. */
function features(count: number, dim: number, seed: number, shift = 0): Tensor {
  const draws = metricDraws(seed, 99);
  const values = Float32Array.from({ length: count * dim }, () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += draws.uniform();
    return sum + shift;
  });
  return fromTypedArray(values, [count, dim]);
}

const rowsOf = (x: Tensor, rows: Int32Array): Tensor => x.indexSelect(0, fromTypedArray(rows).to('int64'));

describe('resampled Fréchet distances', () => {
  it.each([
    ['more images than features', 40, 6, 30],
    ['fewer images than features', 8, 12, 30],
    ['both sides with fewer', 8, 12, 9],
  ])('are those of the rows drawn: %s', (_, count, dim, others) =>
    scope(() => {
      const x = features(count, dim, 1, 3);
      const reference = statisticsOf(features(others, dim, 2));
      const distanceOf = frechetDistanceOfRows(x, reference);
      for (const rows of [Int32Array.from({ length: count }, (_, i) => i), ...bootstrapRows(count, 2, 5)]) {
        expect(distanceOf(rows)).toBeCloseTo(frechetDistance(statisticsOf(rowsOf(x, rows)), reference), 4);
      }
    }),
  );

  it('are few where each is dear', () => {
    expect(resamplesWithin(1000, 192)).toBe(50);
    expect(resamplesWithin(300, 2048)).toBe(50);
    expect(resamplesWithin(50_000, 2048)).toBe(10);
  });
});

it('resampled Inception Scores are those of the rows drawn', () =>
  scope(() => {
    const logits = features(12, 5, 3).mul(2);
    const scoreOf = inceptionScoreOfRows(logits, 'torch-fidelity');
    const [rows] = bootstrapRows(12, 1, 4);
    const drawn = rowsOf(logits, rows!);
    const ranges = Array.from({ length: 10 }, (_, i) => [Math.floor(i * 1.2), Math.floor((i + 1) * 1.2)] as const);
    expect(scoreOf(rows!)).toBeCloseTo(inceptionScoreOfSplits(drawn, ranges).mean, 5);
    expect(inceptionScoreOfRows(logits, 'adm')(rows!)).toBeCloseTo(
      inceptionScoreOfSplits(drawn, splitsOfSize(12, 5000)).mean,
      5,
    );
  }));

describe('the interval of KID', () => {
  it('is as wide as other draws of both sets scatter, also where a set is one subset', () =>
    scope(() => {
      const results = Array.from({ length: 60 }, (_, i) =>
        kernelDistance(features(40, 4, 2 * i), features(50, 4, 2 * i + 1), { subsets: 8 }),
      );
      const means = results.map(({ mean }) => mean);
      const centre = means.reduce((a, b) => a + b) / means.length;
      const scatter = Math.sqrt(means.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (means.length - 1));
      const width = results.reduce((sum, { low, high }) => sum + (high! - low!) / (2 * 1.96), 0) / results.length;
      expect(width / scatter).toBeGreaterThan(0.7);
      expect(width / scatter).toBeLessThan(1.6);
    }));
});

it('KID of two images has no interval, of three it has', () =>
  scope(() => {
    const many = features(50, 4, 1);
    const two = features(2, 4, 2);
    for (const found of [kernelDistance(two, many), kernelDistance(many, two)]) {
      expect(found.mean).toBeTypeOf('number');
      expect([found.low, found.high]).toEqual([undefined, undefined]);
    }
    const { low, high } = kernelDistance(features(3, 4, 2), many);
    expect(high!).toBeGreaterThan(low!);
  }));

describe('class judge', () => {
  /** Three classes about the corners of a triangle; labels in turn. */
  const classes = (count: number, seed: number): { x: Tensor; labels: number[] } => {
    const labels = Array.from({ length: count }, (_, i) => i % 3);
    const corners = tensor(labels.map((label) => [[0, 0], [4, 0], [0, 4]][label]!)); // biome-ignore format: one row
    return { x: features(count, 2, seed).add(corners), labels };
  };

  it('tells classes that can be told, says how well, and is the same again', () =>
    scope(() => {
      const { x, labels } = classes(300, 1);
      const judge = trainClassJudge(x, labels, 3);
      const { quality } = judge;
      expect(quality).toMatchObject({ numTrained: 240, numHeldOut: 60 });
      expect(quality.chance).toBeCloseTo(1 / 3, 5);
      // Neighbouring corners are 4 deviations apart: the best rule errs in about 1 of 25.
      expect(quality.heldOutAccuracy).toBeGreaterThan(0.88);
      const other = classes(300, 2);
      const seen = judge.labelsOf(other.x);
      expect(seen.filter((label, i) => label === other.labels[i]).length).toBeGreaterThan(270);
      expect(trainClassJudge(x, labels, 3).weight.toNumbers()).toEqual(judge.weight.toNumbers());
      expect(() => judge.labelsOf(features(2, 3, 1))).toThrow(/\[N, 2\] features, got \[2, 3\]/);
    }));

  it('is no better than chance where labels say nothing', () =>
    scope(() => {
      const { heldOutAccuracy } = trainClassJudge(features(300, 2, 1), classes(300, 1).labels, 3).quality;
      expect(heldOutAccuracy).toBeLessThan(0.55);
      expect(() => trainClassJudge(features(4, 2, 1), [0, 1, 0, 1], 2)).toThrow(/5 images of some class/);
    }));
});

it('memorisation tells copies from new images of the same kind', () =>
  scope(() => {
    const [training, unseen, fresh] = [features(200, 4, 1), features(60, 4, 2), features(60, 4, 3)];
    const honest = memorisation(fresh, training, unseen);
    expect(Math.abs(honest.nearer - 0.5)).toBeLessThan(0.15);
    expect(honest.suspicious).toBeLessThan(0.2);
    const copies = training.narrow(0, 7, 30).add(1e-3);
    const caught = memorisation(copies, training, unseen);
    expect(caught.nearer).toBe(1);
    expect(caught.suspicious).toBe(1);
    expect(caught.nearest[0]!.training).toBe(7 + caught.nearest[0]!.sample);
    expect(caught.nearest[0]!.distance).toBeCloseTo(2e-3, 4);
    expect(caught.unseen.count).toBe(60);
    // Without unseen images, training ones are compared with the others, never with themselves.
    const alone = memorisation(copies, training);
    expect(alone.unseenAre).toBe('training');
    expect(alone.unseen.least).toBeGreaterThan(0);
    expect(alone.nearer).toBe(1);
    // Equal distances are neither nearer nor farther.
    expect(memorisation(unseen, training, unseen).nearer).toBeCloseTo(0.5, 10);
  }));
