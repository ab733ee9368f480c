/** Sample archives as the reference evaluators read them: `arr_0`, uint8 [N, Y, X, 3]. */

import { closeSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { npzChunks } from '@tessera/formats';
import type { RgbImage } from '../data/image.ts';

/** Writes beside the path first, so that an archive is whole or absent. */
export function writeImagesNpz(path: string, images: readonly RgbImage[], imageSize: number): void {
  const bytes = imageSize * imageSize * 3;
  const data = new Uint8Array(images.length * bytes);
  for (const [i, image] of images.entries()) data.set(image.data, i * bytes);
  const shape = [images.length, imageSize, imageSize, 3];
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.writing`;
  const file = openSync(temporary, 'w');
  try {
    for (const chunk of npzChunks([['arr_0', { dtype: 'uint8', shape, data }]])) {
      for (let at = 0; at < chunk.length; ) at += writeSync(file, chunk, at);
    }
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
}
