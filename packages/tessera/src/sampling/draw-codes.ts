/**
 * The draw of masked sampling: classifier-free guidance and the Gumbel-max trick in its exponential form, argmax(p / e) with
 * e ~ Exp(1), as the released AutoNAT and ENAT write it. Shapes: B batch, M masked tokens of a sample, V codes.
 */

import { drawRows, exponentialNoise, type NoiseAddress, Tensor } from '@tessera/torch';

/** Logits of the masked positions, in float32: [B, M, V]. */
export interface GuidedLogits {
  cond: Tensor;
  /** Undefined: no guidance. */
  uncond?: Tensor | undefined;
  /** s; default 1. */
  guidanceScale?: number;
}

/** uncond + s · (cond − uncond), written as the reference does: cond + (s − 1) · (cond − uncond). */
export function guide({ cond, uncond, guidanceScale = 1 }: GuidedLogits): Tensor {
  return uncond === undefined ? cond : cond.add(cond.sub(uncond).mul(guidanceScale - 1));
}

/**
 * Draws a code a position from p = softmax(log softmax(logits) / t). On a CPU one kernel does all of it, and makes the noise of
 * an address only where a code can win by it; what follows here says the same in operations.
 *
 * @param sampleTemperature t > 0
 * @param noise Exp(1): [B, M, V] float32, or where it is found
 * @returns `codes` [B, M] int64 and `logProbabilities` [B, M], of the codes at temperature 1
 */
export function drawCodes(
  logits: GuidedLogits,
  sampleTemperature: number,
  noise: Tensor | NoiseAddress,
): { codes: Tensor; logProbabilities: Tensor } {
  const { cond, uncond, guidanceScale = 1 } = logits;
  const drawn = drawRows({ cond, uncond, guidanceScale, temperature: sampleTemperature, noise });
  if (drawn !== undefined) return drawn;
  const log = guide(logits).logSoftmax(-1); // [B, M, V]
  const exponential =
    noise instanceof Tensor ? noise : exponentialNoise(noise.images, noise.positions, cond.size(2), noise);
  const codes = log.div(sampleTemperature).softmax(-1).div(exponential).argmax(-1);
  return { codes, logProbabilities: log.gather(-1, codes.unsqueeze(-1)).squeeze(-1) };
}
