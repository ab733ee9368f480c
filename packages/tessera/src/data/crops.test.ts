// Equality with Pillow and torchvision on recorded pictures is the parity suite's (kinds ten-crop, random-crop, crop-box).
import { expect, test } from 'vitest';
import { fiveCropOffsets, mirror, randomCrop, tenCrop, tenCropSide } from './crops.ts';
import type { RgbImage } from './image.ts';
import { imageVariants, recipeSchema, variantsPerImage } from './variants.ts';

/** Red is the column, green the row. */
function ramp(width: number, height: number): RgbImage {
  const pixel = (i: number): number[] => [i % width, Math.floor(i / width), 7];
  return { width, height, data: Uint8Array.from(Array.from({ length: width * height }, (_, i) => pixel(i)).flat()) };
}

const corner = ({ data }: RgbImage): number[] => [data[0]!, data[1]!];

test('the sizes and offsets of the published extractions', () => {
  expect([tenCropSide(256, 1.1), tenCropSide(256, 1.05), tenCropSide(384, 1.1), tenCropSide(512, 1.1)]).toEqual([
    281, 268, 422, 563,
  ]);
  expect(fiveCropOffsets(281, 256)).toEqual([
    [0, 0],
    [25, 0],
    [0, 25],
    [25, 25],
    [12, 12],
  ]);
  expect(fiveCropOffsets(403, 384).at(-1)).toEqual([10, 10]);
  expect(() => tenCropSide(256, 0.9)).toThrow(expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }));
});

test('a mirror image reverses columns, not channels', () => {
  expect([...mirror(ramp(3, 2)).data]).toEqual([2, 0, 7, 1, 0, 7, 0, 0, 7, 2, 1, 7, 1, 1, 7, 0, 1, 7]);
});

test('ten crops: corners and centre, then those of the mirror image', () => {
  const crops = tenCrop(ramp(12, 12), 8, 1.5);
  expect(crops.map(corner)).toEqual([
    ...[[0, 0], [4, 0], [0, 4], [4, 4], [2, 2]], // biome-ignore format: offsets
    ...[[11, 0], [7, 0], [11, 4], [7, 4], [9, 2]], // biome-ignore format: the mirror counts from the right
  ]);
});

test('a random crop asks for short side, y and x, in this order', () => {
  const asked: number[][] = [];
  const draw = (low: number, high: number): number => {
    asked.push([low, high]);
    return asked.length === 3 ? 1 : low;
  };
  const crop = randomCrop(ramp(12, 10), 8, draw);
  expect(asked).toEqual([
    [8, 11],
    [0, 1],
    [0, 3],
  ]);
  expect([crop.width, crop.height]).toEqual([8, 8]);
  expect(() => randomCrop(ramp(12, 8), 8, (_, high) => high)).toThrow(
    expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }),
  );
});

test('variants: one picture behind the other', () => {
  const image = ramp(8, 8);
  const of = (fields: object): Uint8Array => imageVariants(image, recipeSchema.parse({ size: 8, ...fields }));
  expect(of({})).toEqual(image.data);
  expect(of({ variants: 'flip' })).toEqual(Uint8Array.of(...image.data, ...mirror(image).data));
  const recipe = recipeSchema.parse({ size: 4, variants: 'ten-crop', cropRanges: [2, 1.5] });
  expect(variantsPerImage(recipe)).toBe(20);
  expect(imageVariants(image, recipe).length).toBe(20 * 4 * 4 * 3);
});
