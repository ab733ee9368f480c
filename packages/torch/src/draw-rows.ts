// The draw of masked sampling in one pass over the logits (native/draw_rows.cpp): guidance, two softmaxes, Exp(1) noise, the
// largest quotient. The noise of an address is made only as far as it can matter, so that it is never a tensor.

import { NoisePurpose } from '@tessera/schedule';
import { isListenedTo, wrap } from './dispatch.ts';
import { addon } from './native/addon.ts';
import type { NoiseAddress } from './noise.ts';
import { guarded, Tensor } from './tensor.ts';

export interface RowsToDraw {
  /** [B, M, V] float32. */
  cond: Tensor;
  /** Likewise; undefined without guidance. */
  uncond?: Tensor | undefined;
  /** s of cond + (s - 1) (cond - uncond). */
  guidanceScale: number;
  /** t > 0 of the softmax that is drawn from. */
  temperature: number;
  /** Exp(1) values [B, M, V], or where they are found. */
  noise: Tensor | NoiseAddress;
}

/**
 * Draws argmax(p / e), p = softmax(log softmax(logits) / t): the codes [B, M] int64, and their log-probabilities [B, M] at
 * temperature 1. Undefined where the kernel does not reach (CUDA, other types, a gradient wanted, no AVX2) and where someone
 * listens to operations.
 */
export function drawRows(rows: RowsToDraw): { codes: Tensor; logProbabilities: Tensor } | undefined {
  if (isListenedTo()) return undefined;
  const { cond, uncond, guidanceScale, temperature, noise } = rows;
  const drawn = guarded('drawRows', () => {
    const head = [cond.handle, uncond?.handle, guidanceScale - 1, temperature] as const;
    if (noise instanceof Tensor) return addon().drawRows(...head, noise.handle);
    const { images, positions, seed, step, purpose = NoisePurpose.SAMPLE } = noise;
    return addon().drawRows(...head, undefined, images.handle, positions.handle, seed, step, purpose);
  });
  if (drawn === undefined) return undefined;
  return { codes: wrap(drawn[0]!), logProbabilities: wrap(drawn[1]!) };
}
