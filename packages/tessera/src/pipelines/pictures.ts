/** Picture files, written whole or not at all. */

import { type GridOptions, gridPng } from '../data/contact-sheet.ts';
import type { RgbImage } from '../data/image.ts';
import { replaceWhole } from '../data/whole-folder.ts';

export async function savePicture(path: string, images: readonly RgbImage[], options: GridOptions): Promise<void> {
  replaceWhole(path, await gridPng(images, options));
}
