/**
 * Pictures that went through a tokenizer and back, beside how each of them fared: PSNR, SSIM and its tokens. Their Fréchet
 * distance to the originals is the reconstruction's (rFID).
 */

import { fromTypedArray, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { psnr, ssim } from '../../metrics/picture-quality.ts';
import { networkDevice } from '../../nn/device.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { fingerprintOfTokenizer } from '../tokenize/work-plan.ts';
import { type ImageSet, type MeasuredImages, sha256 } from './image-set.ts';
import type { Protocol } from './protocols.ts';

export interface ReconstructionOptions {
  protocol: Protocol;
  /** SSIM's data range for pictures in [0, 1]: 1, or 2 as LlamaGen's script has it. */
  ssimRange: number;
}

/** Takes over the originals; the tokenizer stays the caller's. */
export function reconstructedSet(originals: ImageSet, tokenizer: Tokenizer, options: ReconstructionOptions): ImageSet {
  const { protocol, ssimRange } = options;
  const what = JSON.stringify([protocol.rounding, ssimRange]);
  const readMeasured = async (first: number, count: number): Promise<MeasuredImages> => {
    const batch = await originals.read(first, count);
    try {
      return noGrad(() =>
        scope(() => {
          const wanted = unitPixels(batch);
          const tokens = tokenizer.encode(wanted).to('cpu');
          const decoded = tokenizer.decode(tokens, tokenizer.grid(wanted.size(2), wanted.size(3))).to('cpu');
          // Pictures are compared as they would be saved.
          const images = protocol.rounding === 'float' ? decoded : toBytes(decoded);
          const got = unitPixels(images);
          const quality = (values: readonly number[]): Tensor => fromTypedArray(Float32Array.from(values), [count]);
          return {
            images: keep(images),
            columns: {
              psnr: keep(quality(psnr(wanted, got))),
              ssim: keep(quality(ssim(wanted, got, ssimRange))),
              tokens: keep(tokens.to('int32')),
            },
          };
        }),
      );
    } finally {
      batch.dispose();
    }
  };
  return {
    kind: 'reconstruction',
    path: originals.path,
    count: originals.count,
    fingerprint: sha256(`${originals.fingerprint} ${what} ${fingerprintOfTokenizer(tokenizer)}`),
    labels: originals.labels,
    classes: originals.classes,
    ...(originals.pixels === undefined ? {} : { batch: decodedAtOnce(originals.pixels) }),
    readMeasured,
    async read(first, count) {
      const { images, columns } = await readMeasured(first, count);
      for (const column of Object.values(columns)) column.dispose();
      return images;
    },
    dispose: () => originals.dispose(),
  };
}

/** Of pictures of 256 px so many are decoded at a time, of smaller ones more: activations of the decoder are 1 GB. */
const BATCH_AT_256 = { cpu: 16, cuda: 64 };

/** Pictures of so many pixels that are decoded at a time. */
export function decodedAtOnce(pixels: number): number {
  const batch = BATCH_AT_256[networkDevice() === 'cpu' ? 'cpu' : 'cuda'];
  return Math.max(1, Math.floor((batch * 256 ** 2) / pixels));
}

/** float32 [N, 3, Y, X] in [0, 1] of either form of pictures. */
function unitPixels(images: Tensor): Tensor {
  return images.dtype === 'uint8' ? images.permute([0, 3, 1, 2]).contiguous().to('float32').div(255) : images;
}

/** images — [N, 3, Y, X] in [0, 1]; uint8 [N, Y, X, 3], rounded as pictures are written. */
export function toBytes(images: Tensor): Tensor {
  return images.mul(255).add(0.5).floor().to('uint8').permute([0, 2, 3, 1]).contiguous();
}
