/** Inception features, Fréchet distances, Inception Scores and manifolds from a manifest's features. */

import { noGrad, type Tensor, upsampleBilinear2d } from '@tessera/torch';
import {
  type DistancePrecision,
  equalSplits,
  frechetDistance,
  InceptionV3,
  inceptionInput,
  inceptionScore,
  inceptionScoreOfSplits,
  loadInception,
  manifoldMetrics,
  manifoldRadii,
  ParameterBuilder,
  type StatisticsPrecision,
  splitsOfSize,
  squaredDistances,
  statisticsOf,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import type { CaseContext, Runner } from '../runner.ts';

export const inceptionFeatures: Runner = (context) =>
  noGrad(() => {
    expectParam(context, 'interpolation', 'bilinear');
    expectParam(context, 'alignCorners', false);
    expectParam(context, 'antialias', false);
    expectParam(context, 'scale', '2x-1');
    const [rows, columns] = context.param<number[]>('resize') as [number, number];
    const images = context.tensor('images');
    const own = inceptionInput(images, 'pytorch-fid');
    const isOwnSize = rows === own.size(2) && columns === own.size(3);
    const input = isOwnSize ? own : upsampleBilinear2d(images, [rows, columns], false).mul(2).sub(1);
    const model = loadInception(context.weights(), context.golden.id);
    const blockMeans = new Map<string, Output>();
    const { pool } = model.forward(input, (block, value) => blockMeans.set(String(block), value.mean([2, 3])));
    const logits = model.logits(pool, { bias: true });
    model.dispose();
    return { pool3: pool, blockMeans, logits };
  });

/** Names and shapes of the network; the counters of batches are optional and not made. */
export const inceptionStateShapes: Runner = (context) => {
  const shapes: Record<string, number[]> = {};
  const placeholder = { shape: [0] } as unknown as Tensor;
  const take = (name: string, shape: readonly number[]): Tensor => {
    shapes[name] = [...shape];
    return placeholder;
  };
  new InceptionV3(new ParameterBuilder({ take }));
  const known = context.reader.json(context.golden.file!, []) as Record<string, Json>;
  const optional = context.optional<string>('optionalSuffix');
  const needed = Object.keys(known).filter((name) => optional === undefined || !name.endsWith(optional));
  if (needed.join() !== Object.keys(shapes).join()) throw new Error('names or their order are not the official ones');
  for (const [name, shape] of Object.entries(known)) shapes[name] ??= [...(shape as number[])];
  return { shapes };
};

export const fid: Runner = (context) => {
  const precision = context.param<StatisticsPrecision>('statisticsDtype');
  expectParam(context, 'covarianceDivisor', 'n-1');
  const gen = statisticsOf(context.hostTensor('featGen'), precision);
  const ref = statisticsOf(context.hostTensor('featRef'), precision);
  const distance = frechetDistance(gen, ref);
  const [muGen, sigmaGen, muRef, sigmaRef] = [gen.mean, gen.covariance, ref.mean, ref.covariance];
  return { fid: [distance], muGen, sigmaGen, muRef, sigmaRef };
};

export const inceptionScoreRunner: Runner = (context) => {
  const logits = context.hostTensor('logits');
  const order = context.has('permutation') ? context.hostTensor('permutation').to('int64') : undefined;
  const rows = order === undefined ? logits : logits.indexSelect(0, order);
  const splits = context.param<number>('splits');
  const { mean, std } = inceptionScoreOfSplits(rows, equalSplits(logits.size(0), splits));
  if (order !== undefined && splits === 10) {
    // The named convention makes the same permutation by itself.
    const named = inceptionScore(logits, 'torch-fidelity');
    if (Math.abs(named.mean - mean) > 1e-12 * mean) throw new Error('the convention torch-fidelity has another order');
  }
  return { meanStd: [mean, std] };
};

/** An input's rows, scaled as the case says. */
function features(context: CaseContext, role: string): Tensor {
  const reference = context.golden.inputs[role]!;
  const all = context.hostTensor(role);
  const { rowRange } = reference;
  const rows = rowRange === undefined ? all : all.narrow(0, rowRange[0], rowRange[1] - rowRange[0]);
  return rows.mul(context.optional<number>('featureScale') ?? 1);
}

export const admStatistics: Runner = (context) => {
  expectParam(context, 'covarianceDivisor', 'n-1');
  const { mean, covariance } = statisticsOf(features(context, 'features'));
  return { mu: mean, sigma: covariance };
};

export const admFid: Runner = (context) => {
  const [a, b] = [statisticsOf(features(context, 'features')), statisticsOf(features(context, 'reference'))];
  return { fid: frechetDistance(a, b) };
};

export const admInceptionScore: Runner = (context) => {
  expectParam(context, 'bias', false);
  const weight = context.hostTensor('softmaxWeight').to('float32');
  const pool = features(context, 'features').to('float32');
  const logits = pool.mm(weight.size(0) === pool.size(1) ? weight : weight.t());
  const splits = splitsOfSize(logits.size(0), context.param<number>('splitSize'));
  return { inceptionScore: inceptionScoreOfSplits(logits, splits).mean };
};

/** Where float16 overflowed, the official arithmetic is started as float16 all the same: it must fall back by itself. */
function precisionOf(context: CaseContext): DistancePrecision {
  if (context.optional<boolean>('fp16Overflow') === true) return 'float16';
  return context.param<DistancePrecision>('distanceDtype');
}

export const admPrecisionRecall: Runner = (context) => {
  expectParam(context, 'inManifold', 'distance <= radius');
  const options = { k: context.param<number>('k'), precision: precisionOf(context) };
  const { precision, recall } = manifoldMetrics(features(context, 'reference'), features(context, 'features'), options);
  return { precision, recall };
};

export const admManifoldRadii: Runner = (context) => {
  expectParam(context, 'distance', 'squared');
  const k = context.param<number>('k');
  return { radii: manifoldRadii(features(context, 'features'), k, precisionOf(context)) };
};

export const admPairwiseDistances: Runner = (context) => {
  expectParam(context, 'distance', 'squared');
  return { distances: squaredDistances(features(context, 'rows'), features(context, 'columns'), precisionOf(context)) };
};

function expectParam(context: CaseContext, name: string, value: Json): void {
  const got = context.param(name);
  if (got !== value) throw new Error(`${context.golden.id}: expected ${name} ${String(value)}, got ${String(got)}`);
}
