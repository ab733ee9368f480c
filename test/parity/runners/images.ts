/** Image preparation and what becomes of decoded pixels, bit for bit. */

import { fromTypedArray, noGrad, type Tensor } from '@tessera/torch';
import {
  centerCrop,
  centerCropSteps,
  fiveCropOffsets,
  imageBatch,
  imageVariants,
  type RgbImage,
  randomCrop,
  recipeSchema,
  resizeBicubic,
  tenCrop,
  tenCropSide,
  toLevels,
  toNetworkRange,
} from 'tessera';
import type { Json } from '../golden-set.ts';
import { hashImage } from '../hash-image.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { vqModel } from './llamagen-vq.ts';

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

/** Pictures by rule, in the LlamaGen tokenizer's range. */
export const hashImageRunner: Runner = (context) => {
  const { rule, height, width } = context.golden.params as { rule: string; height: number; width: number };
  const pictures = context
    .param<number[]>('salts')
    .map((salt) => hashImage({ imageRule: rule, height, width, salt }, context.reader.folder.rules).data);
  const images = fromTypedArray(new Uint8Array(Buffer.concat(pictures)), [pictures.length, height, width, 3])
    .permute([0, 3, 1, 2])
    .to('float32');
  return { images: images.div(127.5).sub(1) };
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

function rgbImage(context: CaseContext): RgbImage {
  const image = context.tensor('image'); // [Y, X, 3] uint8
  const [height, width] = image.shape as [number, number, number];
  return { width, height, data: image.toTypedArray() as Uint8Array };
}
