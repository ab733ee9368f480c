/** Tokens to pictures and pictures to tokens, in batches that bound the memory. */

import { fromTypedArray, noGrad, scope, type Tensor } from '@tessera/torch';
import type { RgbImage } from '../data/image.ts';
import { beside, networkDevice } from '../nn/device.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';

const BATCH = 128;

/** float32 [N, 3, Y, X] in [0, 1] to pictures: round(255 · x), halves up, clamped. */
export function toRgbImages(images: Tensor): RgbImage[] {
  const [count, , height, width] = images.shape as [number, number, number, number];
  const bytes = noGrad(() =>
    scope(() => images.mul(255).add(0.5).floor().clamp(0, 255).permute([0, 2, 3, 1]).to('uint8').toBytes()),
  );
  const size = height * width * 3;
  return Array.from({ length: count }, (_, i) => ({ width, height, data: bytes.slice(i * size, (i + 1) * size) }));
}

/** tokens — [N, L] int64. */
export function decodeTokens(tokenizer: Tokenizer, tokens: Tensor): RgbImage[] {
  const images: RgbImage[] = [];
  for (let start = 0; start < tokens.size(0); start += BATCH) {
    const length = Math.min(BATCH, tokens.size(0) - start);
    images.push(...noGrad(() => scope(() => toRgbImages(tokenizer.decode(tokens.narrow(0, start, length))))));
  }
  return images;
}

export interface PixelBlock {
  /** [N, size, size, 3] uint8. */
  pixels: Uint8Array;
  size: number;
}

/** A batch of a block as the tokenizers want it, where they are: [n, 3, Y, X] float32 in [0, 1]. */
export function imageBatch({ pixels, size }: PixelBlock, start: number, count: number): Tensor {
  const bytes = size * size * 3;
  const slice = pixels.subarray(start * bytes, (start + count) * bytes);
  const pictures = beside(fromTypedArray(slice, [count, size, size, 3]), { device: networkDevice() });
  return pictures.permute([0, 3, 1, 2]).contiguous().to('float32').div(255);
}

/** PSNR in dB of the mean squared error over all images of a block. */
export function reconstructionPsnr(tokenizer: Tokenizer, block: PixelBlock): number {
  const total = block.pixels.length / (block.size * block.size * 3);
  let squared = 0;
  for (let start = 0; start < total; start += BATCH) {
    const count = Math.min(BATCH, total - start);
    squared += noGrad(() =>
      scope(() => {
        const images = imageBatch(block, start, count);
        return tokenizer.reconstruct(images).sub(images).square().mean().item() * count;
      }),
    );
  }
  return 10 * Math.log10(1 / Math.max(squared / total, 1e-6));
}

/** Rows of 16 images, each row above its reconstructions: for looking at a tokenizer. */
export function reconstructionPairs(tokenizer: Tokenizer, block: PixelBlock, count: number): RgbImage[] {
  const total = Math.min(count, block.pixels.length / (block.size * block.size * 3));
  return noGrad(() =>
    scope(() => {
      const originals = imageBatch(block, 0, total);
      const before = toRgbImages(originals);
      const after = toRgbImages(tokenizer.reconstruct(originals));
      const rows: RgbImage[] = [];
      for (let start = 0; start < total; start += PAIRS_IN_ROW) {
        const end = Math.min(total, start + PAIRS_IN_ROW);
        rows.push(...padded(before.slice(start, end)), ...padded(after.slice(start, end)));
      }
      return rows;
    }),
  );
}

const PAIRS_IN_ROW = 16;

/** Fills a row with white pictures. */
function padded(row: RgbImage[]): RgbImage[] {
  const { width, height, data } = row[0]!;
  const blank: RgbImage = { width, height, data: new Uint8Array(data.length).fill(255) };
  return [...row, ...Array.from({ length: PAIRS_IN_ROW - row.length }, () => blank)];
}
