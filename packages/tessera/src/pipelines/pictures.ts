/** Picture files, written whole or not at all. */

import { renameSync, writeFileSync } from 'node:fs';
import { type GridOptions, gridPng } from '../data/contact-sheet.ts';
import type { RgbImage } from '../data/image.ts';

export async function savePicture(path: string, images: readonly RgbImage[], options: GridOptions): Promise<void> {
  saveFile(path, await gridPng(images, options));
}

export function saveFile(path: string, bytes: Uint8Array | string): void {
  writeFileSync(`${path}.writing`, bytes);
  renameSync(`${path}.writing`, path);
}
