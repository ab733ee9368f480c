/**
 * `tessera edit`: parts of a picture made anew, the rest kept. A masked model fills in whatever tokens are missing, so
 * inpainting, outpainting, another class for a region and variations are one thing: known tokens, and a mask.
 *
 * Known tokens stay equal. Their pixels need not: the decoder looks past a token's edges, and a tokenizer does not
 * reconstruct exactly. `blend` puts the original's pixels back wherever nothing was asked for.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { withPngText } from '@tessera/formats';
import { DrawPurpose, Draws, type Strategy } from '@tessera/schedule';
import { noGrad, scope } from '@tessera/torch';
import { centerCrop } from '../data/center-crop.ts';
import { encodePng, gridPng } from '../data/contact-sheet.ts';
import { decodeImage, type RgbImage } from '../data/image.ts';
import { chooseStrategy, requireNullClass, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import { imageBatch, toRgbImages } from './decode-tokens.ts';
import { drawnName, refuseOtherPictures } from './drawn-files.ts';
import {
  type Box,
  blended,
  boxMask,
  imageMask,
  type Margins,
  outpainted,
  type PixelMask,
  tokenMask,
} from './edit/region.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { gridOrder } from './grid-order.ts';
import { MaskedGeneration } from './masked-generation.ts';
import { type ModelFolder, openModelFolder } from './model-folder.ts';
import { philoxNoise } from './noise-source.ts';

export interface EditOptions extends StrategyChoice {
  /** Model folder. */
  model: string;
  /** Picture; the middle square of it is edited, at the model's size. */
  image: string;
  /** Exactly one of these four says what is made anew. */
  box?: Box | undefined;
  /** Image whose light pixels are made anew. */
  mask?: string | undefined;
  outpaint?: Margins | undefined;
  /** Share of the tokens, chosen at random for each picture; (0, 1]. */
  variations?: number | undefined;
  /** Name or label of the class of what is made; default: none. */
  class?: string | undefined;
  /** Default 1. */
  numImages?: number | undefined;
  /** Default 0. */
  seed?: number | undefined;
  /** Keep the original's pixels wherever nothing was asked for. */
  blend?: boolean | undefined;
  /** Folder to write. */
  out: string;
  signal?: AbortSignal | undefined;
}

const BATCH = 16;

export async function* edit(options: EditOptions): AsyncGenerator<PipelineEvent> {
  const folder = openModelFolder(options.model);
  try {
    yield* editWith(folder, options);
  } finally {
    folder.dispose();
  }
}

async function* editWith(folder: ModelFolder, options: EditOptions): AsyncGenerator<PipelineEvent> {
  const { numImages = 1, seed = 0, out, signal } = options;
  const { model, tokenizer, imageSize, classes } = folder;
  if (model.generation !== 'masked') {
    throw new PipelineError('OPTIONS', `${options.model} writes its tokens in order: only masked models can edit.`);
  }
  if (options.class === undefined && folder.nullClass === false) {
    throw new PipelineError(
      'OPTIONS',
      `${options.model} was trained without a null class, so it knows nothing of pictures without a class: give one (--class).`,
    );
  }
  const label = labelOf(options.class, folder);
  const strategy = chooseStrategy(options, folder.strategy as Strategy, folder.path);
  requireNullClass(strategy, folder.nullClass, options.model);
  const nameOf = (index: number): string => drawnName(index, undefined, seed);
  const { image, box, mask: maskFile, outpaint, variations, blend = false } = options;
  const textsOf = (index: number): Record<string, string> => ({
    Software: 'Tessera',
    Model: basename(resolve(options.model)),
    Edit: JSON.stringify({
      image: basename(image),
      box,
      mask: maskFile && basename(maskFile),
      outpaint,
      variations,
      blend,
    }),
    Class: classes[label] ?? '',
    Seed: String(seed),
    Image: String(index),
    Strategy: JSON.stringify(strategy),
  });
  const names = new Set(Array.from({ length: numImages }, (_, index) => nameOf(index)));
  refuseOtherPictures(out, names, { name: nameOf(0), texts: textsOf(0) });
  const { picture, mask } = await prepare(options, imageSize);
  const known = noGrad(() => scope(() => tokenizer.encode(asBatch(picture)).toNumbers()));
  const region = mask === undefined ? undefined : tokenMask(mask, imageSize, tokenizer.downsampleFactor);
  const regionOf = (index: number) => region ?? randomRegion(seed, index, model.seqLen, options.variations!);
  const count = regionOf(0).filter((marked) => marked).length;
  const what = `making ${count} of ${model.seqLen} tokens anew, ${numImages} times, ${strategy.numSteps} steps, seed ${seed}`;
  yield { kind: 'stage', stage: 'edit', message: what };
  mkdirSync(out, { recursive: true });

  const scale = Math.max(1, Math.round(96 / imageSize));
  const shown = gridOrder(numImages + 1, 1, imageSize * scale); // the given picture is the first
  const tiles: RgbImage[] = [picture];
  for (let first = 0; first < numImages; first += BATCH) {
    const indices = Array.from({ length: Math.min(BATCH, numImages - first) }, (_, i) => first + i);
    const generation = new MaskedGeneration(model, {
      strategy,
      labels: indices.map(() => label),
      noise: philoxNoise(seed, indices),
      start: { tokens: indices.map(() => known), mask: indices.map(regionOf) },
    });
    try {
      let drawn: RgbImage[] = [];
      while (!generation.isDone) {
        signal?.throwIfAborted();
        const tokens = generation.step();
        if (generation.isDone) drawn = noGrad(() => scope(() => toRgbImages(tokenizer.decode(tokens))));
        tokens.dispose();
      }
      for (const [i, decoded] of drawn.entries()) {
        const index = first + i;
        const keep = mask ?? pixelsOf(regionOf(index), imageSize, tokenizer.downsampleFactor);
        const made = blend ? blended(decoded, picture, keep) : decoded;
        const png = withPngText(await encodePng(made), textsOf(index));
        writeFileSync(join(out, nameOf(index)), png);
        if (tiles.length < shown.indices.length) tiles.push(made);
      }
    } finally {
      generation.dispose();
    }
    yield { kind: 'progress', stage: 'edit', done: first + indices.length, total: numImages, unit: 'images' };
  }
  const grid = join(out, 'grid.png');
  writeFileSync(grid, await gridPng(tiles, { columns: shown.columns, scale }));
  yield { kind: 'file', path: grid, what: 'the picture that was given, then those made of it' };
  yield { kind: 'result', result: { out, numImages, seed, tokensMade: count, class: classes[label], strategy } };
}

function labelOf(wanted: string | undefined, { model, classes }: ModelFolder): number {
  if (wanted === undefined) return model.nullLabel;
  const { chosen } = planImages([wanted], model.config.numClasses, classes, { numImages: 1 });
  if (chosen.length === 1) return chosen[0]!;
  throw new PipelineError('OPTIONS', `Expected one class of what is made, got ${chosen.length} ("${wanted}").`);
}

/** The picture at the model's size, and the pixels to make; no mask where each image has its own. */
async function prepare(
  options: EditOptions,
  size: number,
): Promise<{ picture: RgbImage; mask: PixelMask | undefined }> {
  const { box, mask, outpaint, variations } = options;
  if ([box, mask, outpaint, variations].filter((one) => one !== undefined).length !== 1) {
    throw new PipelineError('OPTIONS', 'Expected one of a box, a mask image, margins to outpaint and a share to vary.');
  }
  if (variations !== undefined && !(variations > 0 && variations <= 1)) {
    throw new PipelineError('OPTIONS', `Expected a share above 0 and up to 1 to vary, got ${variations}.`);
  }
  const given = await decodeImage(options.image, { alpha: 'white', orientation: 'apply' });
  if (outpaint !== undefined) {
    const { canvas, mask: margins } = outpainted(given, outpaint, size);
    return { picture: canvas, mask: margins };
  }
  const picture = centerCrop(given, size);
  if (box !== undefined) return { picture, mask: boxMask(box, size) };
  if (mask !== undefined) return { picture, mask: imageMask(await decodeImage(mask), given, size) };
  return { picture, mask: undefined };
}

/** The same share of tokens for each image, at its own places: a function of (seed, index). */
function randomRegion(seed: number, index: number, seqLen: number, share: number): boolean[] {
  const count = Math.max(1, Math.round(share * seqLen));
  const order = new Draws(seed, index, 0, DrawPurpose.VARIATION).permutation(seqLen);
  const region = new Array<boolean>(seqLen).fill(false);
  for (const position of order.subarray(0, count)) region[position] = true;
  return region;
}

/** Tokens back to the pixels that they stand for. */
function pixelsOf(region: readonly boolean[], size: number, factor: number): PixelMask {
  const grid = size / factor;
  return Uint8Array.from({ length: size * size }, (_, i) =>
    region[Math.floor(i / size / factor) * grid + Math.floor((i % size) / factor)] ? 1 : 0,
  );
}

function asBatch({ data, width }: RgbImage) {
  return imageBatch({ pixels: data, size: width }, 0, 1);
}
