/** Where a generation's noise comes from: the counter-based generator, or a recording (parity). */

import { exponentialNoise, gumbelNoise, type NoiseAddress, Tensor, tensor } from '@tessera/torch';
import { beside, networkDevice } from '../nn/device.ts';

export interface NoiseSource {
  /** Exp(1) noise of positions [B, M] over V codes: [B, M, V] float32. */
  exponential(step: number, positions: Tensor, numCodes: number): Tensor;
  /** Where that noise is found, for kernels that make it themselves; undefined for recordings. */
  address?(step: number, positions: Tensor): NoiseAddress;
  /** Standard Gumbel noise of all positions: [B, L] float64. */
  gumbel(step: number, seqLen: number): Tensor;
}

/**
 * Noise of design rule 3: image i of a seed has the same noise in any batch. It is made where the networks are.
 *
 * @param imageIndices index of each image of the batch in the whole run: numbers, or [B] int64, which is then read at
 *   every draw
 */
export function philoxNoise(seed: number, imageIndices: readonly number[] | Tensor): NoiseSource {
  const images = (): Tensor =>
    imageIndices instanceof Tensor
      ? imageIndices
      : beside(tensor([...imageIndices], 'int64'), { device: networkDevice() });
  return {
    exponential: (step, positions, numCodes) => exponentialNoise(images(), positions, numCodes, { seed, step }),
    address: (step, positions) => ({ images: images(), positions, seed, step }),
    gumbel: (step, seqLen) => gumbelNoise(images(), seqLen, { seed, step }),
  };
}
