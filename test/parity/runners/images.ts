/** Image preparation, bit for bit. */

import { fromTypedArray } from '@tessera/torch';
import { centerCrop } from 'tessera';
import type { Runner } from '../runner.ts';

export const centerCropRunner: Runner = (context) => {
  const image = context.tensor('image'); // [Y, X, 3] uint8
  const [height, width] = image.shape as [number, number, number];
  const size = context.param<number>('size');
  const cropped = centerCrop({ width, height, data: image.toTypedArray() as Uint8Array }, size);
  return { image: fromTypedArray(cropped.data, [size, size, 3]) };
};
