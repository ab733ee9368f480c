/** Image preparation and what becomes of decoded pixels, bit for bit. */

import { fromTypedArray, noGrad, type Tensor, tensor } from '@tessera/torch';
import {
  byteOrder,
  centerCrop,
  centerCropSteps,
  encodePictures,
  fiveCropOffsets,
  imageBatch,
  imageVariants,
  NAT_BATCH,
  natRow,
  type RgbImage,
  randomCrop,
  recipeSchema,
  resizeBicubic,
  tenCrop,
  tenCropSide,
  toLevels,
  toNetworkRange,
  variantsPerImage,
} from 'tessera';
import type { Json } from '../golden-set.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { vqModel } from './llamagen-vq.ts';
import { maskgitModel } from './maskgit-vq.ts';

export const centerCropRunner: Runner = (context) => {
  const size = context.param<number>('size');
  const cropped = centerCrop(rgbImage(context), size);
  return { image: fromTypedArray(cropped.data, [size, size, 3]) };
};

/** The resizes and the cut that a picture of these sides goes through. */
export const cropBox: Runner = (context) => {
  const { width, height, size } = context.golden.params as Record<string, number>;
  return { steps: centerCropSteps(width!, height!, size!) as unknown as Json };
};

export const tenCropOffsets: Runner = (context) => {
  const size = context.param<number>('imageSize');
  const cropSize = tenCropSide(size, context.param<number>('cropRange'));
  return { cropSize, fiveCropXY: fiveCropOffsets(cropSize, size) };
};

export const tenCropRunner: Runner = (context) => {
  const size = context.param<number>('imageSize');
  const range = context.param<number>('cropRange');
  if (tenCropSide(size, range) !== context.param<number>('resizeTo')) throw new Error('another crop size');
  const crops = tenCrop(rgbImage(context), size, range);
  const data = Buffer.concat(crops.map((crop) => crop.data));
  return { crops: fromTypedArray(new Uint8Array(data), [crops.length, size, size, 3]) };
};

interface RecordedDraw {
  range: [low: number, high: number];
  value: number;
}

/** The recorded draws, asked for in the original's order and over its ranges. */
export const randomCropRunner: Runner = (context) => {
  const { smallerSide, cropY, cropX } = context.param('draws') as unknown as Record<string, RecordedDraw>;
  const recorded = [smallerSide!, cropY!, cropX!];
  const draw = (low: number, high: number): number => {
    const next = recorded.shift();
    if (next === undefined || next.range[0] !== low || next.range[1] !== high) {
      throw new Error(`a draw from [${low}, ${high}), recorded was ${JSON.stringify(next)}`);
    }
    return next.value;
  };
  const size = context.param<number>('size');
  const minFraction = context.param<number>('minCropFraction');
  const maxFraction = context.param<number>('maxCropFraction');
  const crop = randomCrop(rgbImage(context), size, draw, { minFraction, maxFraction });
  return { image: fromTypedArray(crop.data, [size, size, 3]) };
};

/** Every level of a byte, as the network gets it: channels first, [-1, 1]. */
export const pixelNormalize: Runner = (context) => {
  const { levels, mean, std } = context.golden.params as Record<string, number>;
  if (mean !== 0.5 || std !== 0.5) throw new Error(`expected the range [-1, 1], got mean ${mean} and std ${std}`);
  const side = Math.sqrt(levels!);
  const pixels = Uint8Array.from({ length: levels! * 3 }, (_, i) => Math.floor(i / 3));
  return { values: toNetworkRange(imageBatch({ pixels, size: side }, 0, 1)) };
};

export const pixelToUint8: Runner = (context) => {
  const { scale, offset, rounding } = context.golden.params;
  if (scale !== 127.5 || offset !== 128 || rounding !== 'truncate') throw new Error('another rule of rounding');
  return { bytes: toLevels(context.tensor('values')) };
};

export const bicubicResize: Runner = (context) => {
  const { alignCorners, antialias } = context.golden.params;
  if (alignCorners !== false || antialias !== false) return undefined;
  const [height, width] = context.param<number[]>('size');
  return { image: resizeBicubic(context.tensor('image'), height!, width!) };
};

/** LlamaGen's files of one image: all its pictures in one row. */
export const extractCodes: Runner = (context) => {
  const size = context.param<number>('imageSize');
  const recipe = recipeSchema.parse({
    size,
    variants: context.param<boolean>('tenCrop') ? 'ten-crop' : 'flip',
    cropRanges: [context.param<number>('cropRange')],
  });
  const pixels = imageVariants(rgbImage(context), recipe);
  const model = vqModel(context);
  const count = pixels.length / (size * size * 3);
  const codes: Tensor = noGrad(() => model.encode(imageBatch({ pixels, size }, 0, count)));
  model.dispose();
  return { codes: codes.unsqueeze(0), label: [context.param<number>('label')] };
};

/**
 * AutoNAT's and ENAT's table: images by class folder in sorted order, batches followed by their mirror images. The rows
 * are placed by the same rule as in the file that the layout writes (data/tokens/nat-npy.ts, tested there).
 */
export const extractTokens: Runner = (context) => {
  const size = context.param<number>('size');
  if (context.param<number>('batchSize') !== NAT_BATCH) return undefined;
  const images = context.tensors('images');
  const paths = [...images.keys()].sort(byteOrder);
  const folderOf = (path: string): string => path.split('/').at(-2)!;
  const classes = [...new Set(paths.map(folderOf))].sort(byteOrder);
  const variants = context.param<boolean>('horizontalFlipRows') ? 'flip' : 'plain';
  const recipe = recipeSchema.parse({ size, variants });
  const pictures = variantsPerImage(recipe);
  const model = maskgitModel(context);
  const rows: number[][] = [];
  for (const [i, path] of paths.entries()) {
    const tokens = encodePictures(model, imageVariants(rgbOf(images.get(path)!), recipe), size);
    const length = tokens.length / pictures;
    for (let p = 0; p < pictures; p++) {
      const row = [classes.indexOf(folderOf(path)), ...tokens.subarray(p * length, (p + 1) * length)];
      rows[natRow(i, p, pictures, paths.length)] = row;
    }
  }
  model.dispose();
  return {
    table: tensor(rows, 'int64'),
    classIds: tensor(
      rows.map(([label]) => label!),
      'int64',
    ),
  };
};

function rgbImage(context: CaseContext): RgbImage {
  return rgbOf(context.tensor('image'));
}

/** image — [Y, X, 3] uint8. */
function rgbOf(image: Tensor): RgbImage {
  const [height, width] = image.shape as [number, number, number];
  return { width, height, data: image.toTypedArray() as Uint8Array };
}
