/** From an item of a list to the pixels that are encoded: read, decode, crop. Runs in the workers of image-pool.ts. */
import { open } from 'node:fs/promises';
import { randomCrop } from './crops.ts';
import { DataError } from './data-error.ts';
import { decodeImage } from './image.ts';
import type { ImageItem } from './image-folder.ts';
import { type ImageRecipe, imageVariants } from './variants.ts';

/** Three random words: of a crop's short side after resizing, its y and its x. */
export type CropWords = readonly [side: number, y: number, x: number];

/** What a worker needs of an item. With `crop` it becomes one random crop instead of the recipe's variants. */
export type ImagePlace = Pick<ImageItem, 'path' | 'relativePath' | 'range'> & { crop?: CropWords };

/** [variants, Y, X, 3] uint8; throws a DataError for an image that cannot be used. */
export async function prepareImage(place: ImagePlace, recipe: ImageRecipe): Promise<Uint8Array> {
  const { alpha, orientation } = recipe;
  const image =
    place.range === undefined
      ? await decodeImage(place.path, { alpha, orientation })
      : await decodeImage(await readRange(place.path, place.range), { alpha, orientation, name: nameOf(place) });
  return place.crop === undefined
    ? imageVariants(image, recipe)
    : randomCrop(image, recipe.size, drawFrom(place.crop)).data;
}

/** The words in turn, as whole numbers in [low, high): ranges are far below 2^32, so shares of it are even enough. */
function drawFrom(words: CropWords): (low: number, high: number) => number {
  const rest = [...words];
  return (low, high) => low + Math.floor((rest.shift()! / 2 ** 32) * (high - low));
}

function nameOf({ path, relativePath }: ImagePlace): string {
  return `${path} (${relativePath})`;
}

async function readRange(path: string, { offset, size }: { offset: number; size: number }): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await file.read(bytes, 0, size, offset);
    if (bytesRead === size) return bytes;
    throw new DataError('IMAGE_UNREADABLE', `Expected ${size} bytes at byte ${offset} of ${path}, got ${bytesRead}.`);
  } finally {
    await file.close();
  }
}
