/**
 * Does a generated image show its class? A linear classifier is trained on features of the real images (a linear probe), and
 * its accuracy on generated ones says how often it sees the class that was asked for. A fifth of the real images is held
 * out; the accuracy on them is what a perfect generator would reach, so the two numbers belong together. It is no better
 * than its features and knows nothing of quality: a caricature of a class may score above the real images.
 */

import {
  crossEntropyLoss,
  fromTypedArray,
  keep,
  linear,
  noGrad,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '@tessera/torch';
import { AdamW } from '../nn/adamw.ts';
import { MetricError } from './metric-error.ts';
import { drawSubset, metricDraws } from './splits.ts';

const STEPS = 300;
const BATCH = 2048;
const LEARNING_RATE = 1e-2;
const WEIGHT_DECAY = 0.5;
const HELD_OUT = 5; // one of so many

export interface JudgeQuality {
  numTrained: number;
  numHeldOut: number;
  /** Share of the held-out images whose class it tells. */
  heldOutAccuracy: number;
  /** Share that always saying the most frequent class would reach. */
  chance: number;
  /** The held-out images by class: some classes are harder to tell than others. */
  byClass: { right: number; count: number }[];
}

export class ClassJudge {
  readonly weight: Tensor; // [C, D], of features as they come
  readonly bias: Tensor; // [C]
  readonly quality: JudgeQuality;

  /** Takes over the tensors. */
  constructor(weight: Tensor, bias: Tensor, quality: JudgeQuality) {
    this.weight = weight;
    this.bias = bias;
    this.quality = quality;
  }

  /** features — [N, D]; returns the class that each image looks like. */
  labelsOf(features: Tensor): number[] {
    const dim = this.weight.size(1);
    if (features.shape.length !== 2 || features.size(1) !== dim) {
      throw new MetricError(
        'METRIC_DIMENSION',
        `The judge knows [N, ${dim}] features, got [${features.shape.join(', ')}].`,
      );
    }
    return noGrad(() => scope(() => linear(features.to('float32'), this.weight, this.bias).argmax(1).toNumbers()));
  }

  dispose(): void {
    this.weight.dispose();
    this.bias.dispose();
  }
}

/** Trains a judge on features — [N, D] with their labels, a function of both alone; owned by the caller. */
export function trainClassJudge(features: Tensor, labels: readonly number[], numClasses: number): ClassJudge {
  const { trained, heldOut } = split(labels);
  if (features.size(0) !== labels.length || numClasses < 2 || heldOut.length === 0) {
    throw new MetricError(
      'METRIC_TOO_FEW',
      `A class judge needs two classes and ${HELD_OUT} images of some class, each with its features; got ${numClasses} classes, ${labels.length} labels, ${features.size(0)} features.`,
    );
  }
  const { weight, bias } = scope(() => fit(features, labels, trained, numClasses));
  const byClass = Array.from({ length: numClasses }, () => ({ right: 0, count: 0 }));
  const seen = scope(() => new ClassJudge(weight, bias, NOTHING).labelsOf(rowsOf(features, heldOut)));
  for (const [at, i] of heldOut.entries()) {
    const own = byClass[labels[i]!]!;
    own.count += 1;
    if (seen[at] === labels[i]) own.right += 1;
  }
  const right = byClass.reduce((sum, one) => sum + one.right, 0);
  return new ClassJudge(weight, bias, {
    numTrained: trained.length,
    numHeldOut: heldOut.length,
    heldOutAccuracy: right / heldOut.length,
    chance: Math.max(...byClass.map(({ count }) => count)) / heldOut.length,
    byClass,
  });
}

const NOTHING: JudgeQuality = { numTrained: 0, numHeldOut: 0, heldOutAccuracy: 0, chance: 0, byClass: [] };

/** Softmax regression on standardised features; what standardising does is then folded into weight and bias. */
function fit(
  features: Tensor,
  labels: readonly number[],
  rows: readonly number[],
  numClasses: number,
): { weight: Tensor; bias: Tensor } {
  const dim = features.size(1);
  const { mean, scale } = noGrad(() => {
    const x = rowsOf(features, rows);
    const centre = x.mean([0]);
    return { mean: centre, scale: x.sub(centre).square().mean([0]).sqrt().add(1e-6).reciprocal() };
  });
  const weight = zeros([numClasses, dim]).requiresGrad_();
  const bias = zeros([numClasses]).requiresGrad_();
  const optimizer = new AdamW(new Map([['weight', weight], ['bias', bias]]), { weightDecay: WEIGHT_DECAY }); // biome-ignore format: one row
  for (let step = 0; step < STEPS; step++) {
    const draws = metricDraws(1, step);
    const batch = rows.length <= BATCH ? rows : drawSubset(draws, BATCH, rows.length).map((i) => rows[i]!);
    scope(() => {
      const x = rowsOf(features, batch).sub(mean).mul(scale);
      const target = tensor(
        batch.map((i) => labels[i]!),
        'int64',
      );
      weight.grad = undefined;
      bias.grad = undefined;
      crossEntropyLoss(linear(x, weight, bias), target).backward();
      optimizer.step(LEARNING_RATE * 0.5 * (1 + Math.cos((Math.PI * step) / STEPS)));
    });
  }
  optimizer.dispose();
  return noGrad(() => {
    const folded = weight.mul(scale);
    return { weight: keep(folded), bias: keep(bias.sub(folded.mv(mean))) };
  });
}

/** Of each class in random order, every fifth is held out. */
function split(labels: readonly number[]): { trained: number[]; heldOut: number[] } {
  const seen = new Map<number, number>();
  const [trained, heldOut]: [number[], number[]] = [[], []];
  for (const i of drawSubset(metricDraws(0, 0), labels.length, labels.length)) {
    const before = seen.get(labels[i]!) ?? 0;
    seen.set(labels[i]!, before + 1);
    (before % HELD_OUT === HELD_OUT - 1 ? heldOut : trained).push(i);
  }
  return { trained, heldOut };
}

function rowsOf(x: Tensor, rows: readonly number[]): Tensor {
  return x.indexSelect(0, fromTypedArray(Int32Array.from(rows)).to('int64')).to('float32');
}
