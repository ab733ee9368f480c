/**
 * Which pictures are stored of each image, and in which order: `plain` the centre crop, `flip` the centre crop and its
 * mirror image (AutoNAT, ENAT; LlamaGen without ten-crop), `ten-crop` ten pictures for each crop range (LlamaGen, NPP).
 */
import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { centerCrop } from './center-crop.ts';
import { mirror, tenCrop } from './crops.ts';
import type { RgbImage } from './image.ts';

export const recipeSchema = strictConfig({
  /** Pixels of a picture's side. */
  size: z.int().min(1).max(16384),
  variants: z.enum(['plain', 'flip', 'ten-crop']).default('plain'),
  /** Of ten-crop: the square that the ten are cut from, as a multiple of `size`. */
  cropRanges: z.array(z.number().min(1).max(8)).min(1).max(16).default([1.1]),
  /** `drop` keeps the hidden colours under transparency, as Pillow does; `white` lays the picture on white. */
  alpha: z.enum(['drop', 'white']).default('drop'),
  /** `ignore` keeps the stored orientation, as Pillow does; `apply` turns the picture as EXIF says. */
  orientation: z.enum(['ignore', 'apply']).default('ignore'),
});

export type ImageRecipe = z.output<typeof recipeSchema>;

/** Pictures that one image becomes. */
export function variantsPerImage({ variants, cropRanges }: ImageRecipe): number {
  switch (variants) {
    case 'plain':
      return 1;
    case 'flip':
      return 2;
    case 'ten-crop':
      return 10 * cropRanges.length;
    default:
      return variants satisfies never;
  }
}

/** [variants, Y, X, 3] uint8, one picture behind the other. */
export function imageVariants(image: RgbImage, recipe: ImageRecipe): Uint8Array {
  const pictures = picturesOf(image, recipe);
  const bytes = recipe.size * recipe.size * 3;
  const all = new Uint8Array(pictures.length * bytes);
  for (const [i, { data }] of pictures.entries()) all.set(data, i * bytes);
  return all;
}

function picturesOf(image: RgbImage, { size, variants, cropRanges }: ImageRecipe): RgbImage[] {
  if (variants === 'ten-crop') return cropRanges.flatMap((range) => tenCrop(image, size, range));
  const whole = centerCrop(image, size);
  return variants === 'flip' ? [whole, mirror(whole)] : [whole];
}
