/**
 * How a masked generator makes pictures, step by step, as frames: the tiles of fixed tokens as decoded, masked ones
 * grey. Each frame decodes everything that its step sampled; what the next step finds masked again is covered, so a
 * visible tile is one that stays.
 */

import type { GridOptions } from '../data/contact-sheet.ts';
import { gridImage } from '../data/contact-sheet.ts';
import type { RgbImage } from '../data/image.ts';
import { PipelineError } from './events.ts';

/** Seen apart from most pictures' colours on light and on dark pages. */
const NEUTRAL = 128;

/** A picture after a step. */
export interface RevealStep {
  /** Everything decoded as sampled by the step. */
  decoded: RgbImage;
  /** 1 for tokens that were masked before the step: [L]. */
  maskedBefore: Uint8Array;
}

/**
 * Frames of one picture: the empty grid first, the finished picture last.
 *
 * @param gridSide tokens a side
 */
export function revealFrames(steps: readonly RevealStep[], gridSide: number): RgbImage[] {
  const [first] = steps;
  if (first === undefined) throw new PipelineError('REVEAL', 'Expected at least one step to show.');
  const frames = [covered(first.decoded, first.maskedBefore, gridSide)];
  steps.forEach(({ decoded }, i) => {
    const after = steps[i + 1];
    frames.push(after === undefined ? decoded : covered(decoded, after.maskedBefore, gridSide));
  });
  return frames;
}

/** Frames of many pictures, laid out as one grid each. All must have equally many steps. */
export function revealGrid(pictures: readonly (readonly RgbImage[])[], options: GridOptions): RgbImage[] {
  const frames = pictures[0] ?? [];
  return frames.map((_, i) =>
    gridImage(
      pictures.map((frame) => frame[i]!),
      options,
    ),
  );
}

function covered(picture: RgbImage, masked: Uint8Array, gridSide: number): RgbImage {
  const data = picture.data.slice();
  const tileWidth = picture.width / gridSide;
  const tileHeight = picture.height / gridSide;
  masked.forEach((flag, token) => {
    if (flag === 0) return;
    const left = (token % gridSide) * tileWidth;
    const top = Math.floor(token / gridSide) * tileHeight;
    for (let y = top; y < top + tileHeight; y++) {
      const start = (y * picture.width + left) * 3;
      data.fill(NEUTRAL, start, start + tileWidth * 3);
    }
  });
  return { ...picture, data };
}
