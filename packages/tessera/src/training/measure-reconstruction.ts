/** How well a tokenizer gives pictures back: PSNR of 8-bit values, and how much of its codebook it uses. */

import { noGrad, scope, type Tensor } from '@tessera/torch';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';

/** Pictures by index. */
export interface ImageBatches {
  readonly numImages: number;
  /** [n, 3, Y, X] float32 in [0, 1]. */
  pick(indices: readonly number[]): Tensor;
}

/** Images a forward pass. */
const BATCH = 128;

/** Held-out quality of the encoder, codebook and decoder together. */
export function measureReconstruction(tokenizer: Tokenizer, images: ImageBatches): Record<string, number> {
  const used = new Float64Array(tokenizer.codebookSize);
  const errors: number[] = []; // mean squared error of each image, of values 0..255
  for (let i = 0; i < images.numImages; i += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, images.numImages - i) }, (_, j) => i + j);
    noGrad(() =>
      scope(() => {
        const wanted = images.pick(batch);
        const latent = tokenizer.encodeToLatent(tokenizer.toNetwork(wanted));
        const { tokens, quantized } = tokenizer.quantize(latent);
        const got = tokenizer.fromNetwork(tokenizer.decodeLatent(quantized));
        const difference = got.mul(255).round().sub(wanted.mul(255).round());
        errors.push(...difference.square().mean([1, 2, 3]).toNumbers());
        for (const [code, n] of tokens.flatten().bincount(undefined, used.length).toNumbers().entries())
          used[code]! += n;
      }),
    );
  }
  const total = used.reduce((sum, n) => sum + n, 0);
  const entropy = used.reduce((sum, n) => (n === 0 ? sum : sum - (n / total) * Math.log(n / total)), 0);
  const mean = errors.reduce((sum, e) => sum + e, 0) / errors.length;
  return {
    /** Mean over images of each image's PSNR in dB. An exact image counts as an error of 1/4 level. */
    psnr: errors.reduce((sum, e) => sum + psnrOf(Math.max(e, 1 / 16)), 0) / errors.length,
    /** PSNR of the mean squared error over all images, in dB: never above the other. */
    psnrOfMeanError: psnrOf(Math.max(mean, 1 / 16)),
    codebookUsage: used.filter((n) => n > 0).length / used.length,
    perplexity: Math.exp(entropy),
  };
}

function psnrOf(meanSquaredError: number): number {
  return 10 * Math.log10(255 ** 2 / meanSquaredError);
}
