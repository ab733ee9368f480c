/**
 * What the reference systems do between a decoder and a file: another size by torch's bicubic, and whole levels.
 *
 * LlamaGen resizes after sampling (384 px to 256 px) by float bicubic interpolation without antialiasing, unlike the
 * antialiased 8-bit one before tokenizing (resize.ts), and cuts 127.5 x + 128 off to whole levels (npp-llamagen §4).
 */
import { type Tensor, upsampleBicubic2d } from '@tessera/torch';

/** images — [N, 3, Y, X] float32 in any range; returns [N, 3, height, width], which may overshoot that range a little. */
export function resizeBicubic(images: Tensor, height: number, width: number): Tensor {
  return upsampleBicubic2d(images, [height, width], false);
}

/** values — float32 in [-1, 1], any shape; returns uint8 of 127.5 x + 128, clamped and truncated. */
export function toLevels(values: Tensor): Tensor {
  return values.mul(127.5).add(128).clamp(0, 255).to('uint8');
}
