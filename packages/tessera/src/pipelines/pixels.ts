/** Tensors in [0, 1] to pictures, the pipelines' one rounding rule: floor(255 x + 0.5), clamped to 0..255. */

import { noGrad, scope, type Tensor } from '@tessera/torch';
import type { RgbImage } from '../data/image.ts';

/** images — [N, 3, Y, X] float32 in [0, 1]. */
export function toPictures(images: Tensor): RgbImage[] {
  const [count, , height, width] = images.shape as [number, number, number, number];
  const bytes = noGrad(() =>
    scope(() =>
      images.permute([0, 2, 3, 1]).mul(255).add(0.5).floor().clamp(0, 255).to('uint8').contiguous().toBytes(),
    ),
  );
  const pixels = new Uint8Array(bytes);
  const size = height * width * 3;
  return Array.from({ length: count }, (_, i) => ({ width, height, data: pixels.slice(i * size, (i + 1) * size) }));
}
