/**
 * What the trainings of masked families share: the settings, the draws of mask ratios, orders and dropped labels, the
 * held-out measurement. All draws are functions of (seed, step, shard).
 */

import {
  type Draws,
  drawMaskRatio,
  MASK_DISTRIBUTIONS,
  type MaskDistribution,
  trainingMaskCount,
} from '@tessera/schedule';
import { type Tensor, tensor, where } from '@tessera/torch';
import { z } from 'zod';
import { beside } from '../nn/device.ts';

import type { GeneratorModel } from './family.ts';

/** Fields of a masked family's recipe; a family spreads them into its own schema. */
export const maskedRecipeShape = {
  /** How the share of masked tokens is drawn. */
  maskDistribution: z.enum(MASK_DISTRIBUTIONS).default('beta'),
  /** α and β of `beta`. */
  maskBeta: z.tuple([z.number().positive(), z.number().positive()]).default([12, 3]),
  labelSmoothing: z.number().min(0).max(0.9).default(0.1),
};

interface MaskSettings {
  maskDistribution: MaskDistribution;
  maskBeta: readonly [number, number];
}

/** Number of tokens to mask of `seqLen`, at least 1 and at most `maxMasked`. */
export function drawMaskCount(draws: Draws, settings: MaskSettings, seqLen: number, maxMasked: number): number {
  const ratio = drawMaskRatio(draws, settings.maskDistribution, settings.maskBeta);
  return trainingMaskCount(ratio, seqLen, { minMasked: 1, maxMasked });
}

/** Independent random orders of 0..length-1: [batch, length] int64. */
export function drawOrders(draws: Draws, batch: number, length: number): Tensor {
  return tensor(
    Array.from({ length: batch }, () => Array.from(draws.permutation(length))),
    'int64',
  );
}

/** Uniform numbers: [batch, length] float32. */
export function drawUniforms(draws: Draws, batch: number, length: number): Tensor {
  return tensor(Array.from({ length: batch }, () => Array.from({ length }, () => draws.uniform())));
}

/** Labels with a share of them replaced by the null label: [B] int64. */
export function dropLabels(labels: Tensor, nullLabel: number, draws: Draws, share: number): Tensor {
  const dropped = tensor(
    Array.from({ length: labels.size(0) }, () => (draws.uniform() < share ? 1 : 0)),
    'int64',
  );
  return where(beside(dropped, labels).to('bool'), labels.fullLike(nullLabel), labels);
}

/** Mask ratios of the held-out measurement: from nearly everything masked to mostly visible. */
const MEASURED_RATIOS = [0.95, 0.8, 0.6, 0.4];

/** Logits of masked positions and their true tokens, of any equal shapes [..., V] and [...]. */
export interface Predicted {
  loss: Tensor;
  logits: Tensor;
  targets: Tensor;
}

/**
 * Loss without smoothing and token accuracy with fixed masks at fixed ratios.
 *
 * @param predict the family's own loss, given an order of masking [B, L] (position p is masked iff order[p] < count)
 */
export function measureMasked(
  { seqLen, device }: Pick<GeneratorModel, 'seqLen' | 'device'>,
  indices: readonly number[],
  predict: (order: Tensor, maskCount: number) => Predicted,
): { loss: number; accuracy: number } {
  let loss = 0;
  let accuracy = 0;
  const order = beside(measuredOrder(indices, seqLen), { device });
  for (const ratio of MEASURED_RATIOS) {
    const result = predict(order, trainingMaskCount(ratio, seqLen, { minMasked: 1, maxMasked: seqLen - 1 }));
    loss += result.loss.item() / MEASURED_RATIOS.length;
    accuracy += accuracyOf(result).item() / MEASURED_RATIOS.length;
  }
  return { loss, accuracy };
}

/** Share of masked tokens whose most likely code is the true one: scalar. */
export function accuracyOf({ logits, targets }: Predicted): Tensor {
  return logits.detach().argmax(-1).eq(targets).to('float32').mean();
}

/** The same order of masking for a row at every measurement: a golden-ratio walk, shifted by row. */
function measuredOrder(indices: readonly number[], seqLen: number): Tensor {
  const rows = indices.map((row) =>
    Array.from({ length: seqLen }, (_, p) => ((p + 1) * 0.6180339887498949 + row * 0.7548776662466927) % 1),
  );
  return tensor(rows).argsort().argsort();
}
