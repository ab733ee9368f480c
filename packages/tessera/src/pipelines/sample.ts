/**
 * Images from a model folder: a PNG an image with what made it in its texts, a grid with one row a class, and on demand
 * the step-by-step reveal and an `arr_0` archive as the reference evaluators read it. Among several processes each draws a
 * share, and the first one makes what is of all pictures from their files.
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { withPngText } from '@tessera/formats';
import type { SamplingSettings } from '@tessera/schedule';
import { noGrad, scope } from '@tessera/torch';
import { animatedGif, animatedWebp, encodePng, gridPng } from '../data/contact-sheet.ts';
import { decodeImage, type RgbImage } from '../data/image.ts';
import { requireFileName } from '../data/whole-folder.ts';
import { Ranks } from '../training/ranks.ts';
import { chooseSampling, describeSampling, requireNullClass, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import { toRgbImages } from './decode-tokens.ts';
import { drawnName, refuseOtherPictures } from './drawn-files.ts';
import type { PipelineEvent } from './events.ts';
import { type GeneratedBatch, generateImages } from './generate-images.ts';
import { gridOrder } from './grid-order.ts';
import { amongRanks } from './join-ranks.ts';
import { type ModelFolder, openModelFolder } from './model-folder.ts';
import { loadedType, setWeightsType, type WeightsType } from './open-generator.ts';
import { type RevealStep, revealFrames, revealGrid } from './reveal.ts';
import { ImagesNpzWriter } from './write-npz.ts';

export interface SampleOptions extends StrategyChoice {
  /** Model folder. */
  model: string;
  /** Names or labels; default: all. */
  classes?: readonly string[] | undefined;
  /** Default: about 64. */
  numImages?: number | undefined;
  perClass?: number | undefined;
  /** Default 0. */
  seed?: number | undefined;
  batch?: number | undefined;
  /** Of the weights while a GPT generates; default: as they come. */
  dtype?: WeightsType | undefined;
  /** Rows of tokens decoded at a time (default 32): fewer need less memory, the pictures are the same. */
  tile?: number | undefined;
  /** Default: a new folder under `samples/`. */
  out?: string | undefined;
  /** Also write an animated WebP of the steps. */
  reveal?: boolean | undefined;
  /** Also write it as GIF. */
  revealGif?: boolean | undefined;
  /** Also write all pixels as `arr_0`, uint8 [N, Y, X, 3]. */
  npz?: string | undefined;
  signal?: AbortSignal | undefined;
}

export function sample(options: SampleOptions): AsyncGenerator<PipelineEvent> {
  return amongRanks((ranks) => sampleOn(options, ranks));
}

async function* sampleOn(options: SampleOptions, ranks: Ranks): AsyncGenerator<PipelineEvent> {
  const model = openModelFolder(options.model, loadedType(options.dtype));
  try {
    setWeightsType(model.model, options.dtype);
    yield* sampleModel(model, options, ranks);
  } finally {
    model.dispose();
  }
}

/** The same from a model that is open already; `options.model` names it. */
export async function* sampleModel(
  folder: ModelFolder,
  options: SampleOptions,
  ranks: Ranks = new Ranks(),
): AsyncGenerator<PipelineEvent> {
  const { seed = 0, signal, npz, reveal = false, revealGif = false } = options;
  const { model, imageSize, classes } = folder;
  const { labels, chosen } = planImages(options.classes ?? [], model.config.numClasses, classes, options);
  const strategy = chooseSampling(options, folder.strategy, model.generation, folder.path);
  requireNullClass(strategy, folder.nullClass, options.model);
  if (npz !== undefined) await ranks.decide(() => requireFileName(npz) ?? null);
  const name = basename(resolve(options.model));
  const out = await ranks.decide(() => options.out ?? freshFolder('samples', name));
  const message = `Sampling ${labels.length} images of ${chosen.length} classes, ${imageSize} px, ${describeSampling(strategy)}, seed ${seed}`;
  yield { kind: 'stage', stage: 'sample', message };
  mkdirSync(out, { recursive: true });

  const numRevealed = reveal || revealGif ? Math.min(labels.length, revealLimit(imageSize)) : 0;
  const scale = Math.max(1, Math.round(96 / imageSize));
  const shown = gridOrder(labels.length, chosen.length, imageSize * scale);
  const isAlone = ranks.size === 1;
  const archive = npz === undefined || !ranks.isFirst ? undefined : new ImagesNpzWriter(npz, labels.length, imageSize);
  const writer = new PictureWriter({
    out,
    folder,
    name,
    seed,
    strategy,
    labels,
    numRevealed,
    kept: new Set(shown.indices),
    archive: isAlone ? archive : undefined,
    tile: options.tile,
  });
  try {
    const names = new Set(labels.map((_, index) => writer.fileName(index)));
    const first = { name: writer.fileName(0), texts: writer.texts(0) };
    await ranks.decide(() => refuseOtherPictures(out, names, first) ?? null);
    yield* generateImages(
      model,
      { strategy, labels, range: shareOf(labels.length, numRevealed, ranks), seed, batch: options.batch, signal },
      (batch) => writer.add(batch),
      ranks.isFirst ? numRevealed : 0,
    );
    // All files are there, and no rank fails or stops unheard.
    await ranks.together(() => null);
    if (archive !== undefined && !isAlone) {
      for (const index of labels.keys()) archive.add(await writer.picture(index));
    }
    archive?.finish();
  } finally {
    archive?.dispose();
  }

  const result = { out, numImages: labels.length, classes: chosen.map((label) => classes[label]), seed, strategy };
  if (!ranks.isFirst) {
    yield { kind: 'result', result };
    return;
  }
  const grid = join(out, 'grid.png');
  const pictures: RgbImage[] = [];
  for (const index of shown.indices) pictures.push(await writer.picture(index));
  writeFileSync(grid, await gridPng(pictures, { columns: shown.columns, scale }));
  yield { kind: 'file', path: grid, what: shown.rowsAreClasses ? 'one row a class' : 'all in one picture' };
  const files: Record<string, string> = { grid };
  if (numRevealed > 0) {
    const order = gridOrder(numRevealed, chosen.length, imageSize * scale);
    const revealed = order.indices.map((index) => writer.revealed[index]!);
    const frames = revealGrid(revealed, { columns: order.columns, scale });
    const timing = { delayMs: 350, lastDelayMs: 2500 };
    const kinds = [...(reveal ? (['webp'] as const) : []), ...(revealGif ? (['gif'] as const) : [])];
    for (const kind of kinds) {
      const path = join(out, `reveal.${kind}`);
      writeFileSync(path, await (kind === 'webp' ? animatedWebp(frames, timing) : animatedGif(frames, timing)));
      files[`reveal-${kind}`] = path;
      yield { kind: 'file', path, what: 'step by step' };
    }
  }
  if (npz !== undefined) {
    files.npz = npz;
    yield { kind: 'file', path: npz, what: 'all pixels as arr_0' };
  }
  yield { kind: 'result', result: { ...result, files } };
}

/** The images of a rank: a run of them; the first rank's holds those whose steps are shown. */
function shareOf(count: number, numRevealed: number, { rank, size }: Ranks): [from: number, to: number] {
  const first = Math.max(Math.ceil(count / size), numRevealed);
  const end = (share: number): number => first + Math.floor(((count - first) * share) / Math.max(1, size - 1));
  return rank === 0 ? [0, first] : [end(rank - 1), end(rank)];
}

interface WriterSettings {
  out: string;
  folder: ModelFolder;
  name: string;
  seed: number;
  strategy: SamplingSettings;
  labels: readonly number[];
  numRevealed: number;
  /** Indices of the pictures to remember. */
  kept: ReadonlySet<number>;
  archive: ImagesNpzWriter | undefined;
  tile: number | undefined;
}

/** Rows of tokens: grids up to 32×32 (512 px at 16 px a token) are decoded whole. */
const BAND = 32;

/** Decodes batches and writes each picture as it comes. */
class PictureWriter {
  /** Those to remember, by index. */
  private readonly pictures = new Map<number, RgbImage>();
  /** Frames of the first pictures: [numRevealed][steps + 1]. */
  readonly revealed: RgbImage[][] = [];
  private readonly settings: WriterSettings;

  constructor(settings: WriterSettings) {
    this.settings = settings;
  }

  async add(batch: GeneratedBatch): Promise<void> {
    const { out, numRevealed, folder, kept, archive, tile = BAND } = this.settings;
    const { gridSize } = folder.model.config;
    const decode = (tokens: GeneratedBatch['tokens']): RgbImage[] =>
      noGrad(() => scope(() => toRgbImages(folder.tokenizer.decodeInBands(tokens, [gridSize, gridSize], tile))));
    // Before anything is awaited: the tensors live during this call only.
    const pictures = decode(batch.tokens);
    const decodedSteps = batch.steps.map(({ sampled }) => decode(sampled));
    for (const [i, picture] of pictures.entries()) {
      const index = batch.first + i;
      const png = withPngText(await encodePng(picture), this.texts(index));
      writeFileSync(join(out, this.fileName(index)), png);
      archive?.add(picture);
      if (kept.has(index)) this.pictures.set(index, picture);
      if (index >= numRevealed) continue;
      const steps = batch.steps.map(
        ({ maskedBefore }, step): RevealStep => ({
          decoded: decodedSteps[step]![i]!,
          maskedBefore: maskedBefore[i]!,
        }),
      );
      this.revealed.push(revealFrames(steps, folder.model.config.gridSize));
    }
  }

  /** A picture that is remembered, or that this or another process has written. */
  async picture(index: number): Promise<RgbImage> {
    return this.pictures.get(index) ?? decodeImage(join(this.settings.out, this.fileName(index)));
  }

  /** Such as `00012-food-s0.png`. */
  fileName(index: number): string {
    const { labels, folder, seed } = this.settings;
    return drawnName(index, className(folder, labels[index]!), seed);
  }

  texts(index: number): Record<string, string> {
    const { name, seed, strategy, labels, folder } = this.settings;
    return {
      Software: 'Tessera',
      Model: name.replaceAll('\0', ''),
      Class: className(folder, labels[index]!).replaceAll('\0', ''),
      Seed: String(seed),
      Image: String(index),
      Strategy: JSON.stringify(strategy),
    };
  }
}

function className(folder: ModelFolder, label: number): string {
  return folder.classes[label]!;
}

/** A reveal of a megapixel at most. */
function revealLimit(imageSize: number): number {
  return Math.max(1, Math.min(64, Math.floor(2 ** 20 / imageSize ** 2)));
}

/** `parent/name-001`, or the next number that is free. */
function freshFolder(parent: string, name: string): string {
  const taken = existsSync(parent) ? readdirSync(parent) : [];
  const numbers = taken.map((entry) => (entry.startsWith(`${name}-`) ? Number(entry.slice(name.length + 1)) : 0));
  const next = Math.max(0, ...numbers.filter(Number.isSafeInteger)) + 1;
  return join(parent, `${name}-${String(next).padStart(3, '0')}`);
}
