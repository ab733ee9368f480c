// The noise of sampling (design rule 3) as tensors: the same values, bit for bit, as @tessera/schedule's.

import { NoisePurpose } from '@tessera/schedule';
import { announced, wrap } from './dispatch.ts';
import { addon } from './native/addon.ts';
import { guarded, type Tensor } from './tensor.ts';

export interface NoiseKey {
  /** Safe integer >= 0. */
  seed: number;
  /** Sampling step from 0. */
  step: number;
  /** Default: SAMPLE for exponential noise, CHOICE for Gumbel noise. */
  purpose?: number;
}

/** Exp(1) noise by its place, for who makes it when it is drawn with. */
export interface NoiseAddress extends NoiseKey {
  /** [B] int64, index of each image in the whole run. */
  images: Tensor;
  /** [B, M] int64. */
  positions: Tensor;
}

/**
 * Exp(1) noise over codes. images — [B] int64, index of each image in the whole run; positions — [B, M] int64;
 * returns [B, M, numCodes] float32
 * on the positions' device, with the same bits on every device.
 */
export function exponentialNoise(images: Tensor, positions: Tensor, numCodes: number, key: NoiseKey): Tensor {
  const { seed, step, purpose = NoisePurpose.SAMPLE } = key;
  return announced('exponentialNoise', [images, positions], () =>
    guarded('exponentialNoise', () =>
      wrap(addon().exponentialNoise(images.handle, positions.handle, numCodes, seed, step, purpose)),
    ),
  );
}

/** Standard Gumbel noise over positions 0..L-1. images — [B] int64; returns [B, L] float64 on the images' device. */
export function gumbelNoise(images: Tensor, numPositions: number, key: NoiseKey): Tensor {
  const { seed, step, purpose = NoisePurpose.CHOICE } = key;
  return announced('gumbelNoise', [images], () =>
    guarded('gumbelNoise', () => wrap(addon().gumbelNoise(images.handle, numPositions, seed, step, purpose))),
  );
}
