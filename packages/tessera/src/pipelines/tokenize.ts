/**
 * `tessera tokenize`: images to tokens on disk, in any of the three layouts.
 *
 * The images are listed, cut into shares of whole batches (one share a process), and each share appends to a part file; a
 * killed process goes on where its part ends, with the same bytes at the end. When the last part is whole, whoever wrote
 * it writes the output. Originals' row orders: data/tokens/{nat-npy,llamagen-tree}.ts.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { ImageFolder } from '../data/image-folder.ts';
import { ImagePool } from '../data/image-pool.ts';
import { openImageSource } from '../data/image-source.ts';
import { imagenetClasses } from '../data/imagenet-classes.ts';
import { type ImageRecipe, recipeSchema, variantsPerImage } from '../data/variants.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { usualSize } from '../tokenizers/usual-size.ts';
import { lockRun } from '../training/run-lock.ts';
import { TrainingError } from '../training/training-error.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { chooseTokenizer } from './tokenize/choose-tokenizer.ts';
import { encodeShare } from './tokenize/encode-share.ts';
import { checkPlace, type Layout, whatIsThere } from './tokenize/layouts.ts';
import { mergeParts, partsOf } from './tokenize/merge-parts.ts';
import { type PartLayout, PartWriter } from './tokenize/part-file.ts';
import { joinJob, makePlan, PLAN_FILE, planHash, type WorkPlan } from './tokenize/work-plan.ts';
import { shareOfRank, type WorkShare } from './tokenize/work-share.ts';

export interface TokenizeOptions {
  /** Folder of one split, folder of tar files, or a tar file. */
  images: string;
  /** What is written: a folder, or for `nat-npy` a file. */
  out: string;
  /** A model or tokenizer folder, or the name of an architecture. */
  tokenizer: string;
  /** Weights of a named architecture. */
  tokenizerWeights?: string | undefined;
  /** Pixels of a side; default: those of the model, else what the tokenizer is for. */
  size?: number | undefined;
  /** The pictures of each image; default one, the centre crop. */
  variants?: ImageRecipe['variants'] | undefined;
  /** Of ten-crop; default 1.1. */
  cropRanges?: readonly number[] | undefined;
  alpha?: ImageRecipe['alpha'] | undefined;
  orientation?: ImageRecipe['orientation'] | undefined;
  layout?: Layout | undefined;
  classNames?: string | undefined;
  /** Which part of the work this process does; default: that of its rank in a distributed run, else all. */
  share?: WorkShare | undefined;
  /** Pictures that are encoded together; default by their size. */
  batch?: number | undefined;
  /** Decoding threads. */
  workers?: number | undefined;
  signal?: AbortSignal | undefined;
}

export async function* tokenize(options: TokenizeOptions): AsyncGenerator<PipelineEvent> {
  const { layout = 'shards', images, signal } = options;
  checkPlace(options.out, layout);
  const choice = { tokenizer: options.tokenizer, weights: options.tokenizerWeights };
  const { tokenizer, imageSize } = chooseTokenizer(choice);
  try {
    const recipe = recipeOf(options, options.size ?? imageSize ?? usualSize(tokenizer));
    const [gridSize] = tokenizer.grid(recipe.size, recipe.size);
    yield { kind: 'stage', stage: 'images', message: `listing the images of ${images}` };
    const source = await openImageSource(images, { classNames: options.classNames, signal });
    yield* describe(source);
    yield* run({ ...options, out: resolve(options.out) }, tokenizer, recipe, gridSize, source, layout);
  } finally {
    tokenizer.dispose();
  }
}

/** A folder called by a WordNet id, in the path of an image. */
const WORDNET_FOLDER = /(?:^|\/)(n\d{8})\//;

/** Pixels of an encoder batch on a CPU: activations of 256 px pictures take 32 MB a picture and layer. */
const BATCH_PIXELS = { cpu: 2 ** 19, cuda: 2 ** 22 } as const;
const LARGEST_BATCH = 128;

function recipeOf(options: TokenizeOptions, size: number): ImageRecipe {
  const { variants = 'plain', cropRanges, alpha, orientation } = options;
  if (cropRanges !== undefined && variants !== 'ten-crop') {
    throw new PipelineError('CROP_RANGE', '--crop-range belongs to --ten-crop: add that, or leave this out.');
  }
  return recipeSchema.parse({ size, variants, cropRanges, alpha, orientation });
}

async function* run(
  options: TokenizeOptions,
  tokenizer: Tokenizer,
  recipe: ImageRecipe,
  gridSize: number,
  source: ImageFolder,
  layout: Layout,
): AsyncGenerator<PipelineEvent> {
  const { out, share = shareOfRank(), signal } = options;
  const { device } = tokenizer;
  const pixels = BATCH_PIXELS[device === 'cpu' ? 'cpu' : 'cuda'];
  const pictures = options.batch ?? Math.max(1, Math.min(LARGEST_BATCH, Math.floor(pixels / recipe.size ** 2)));
  const plan = makePlan(source, tokenizer, {
    gridSize,
    recipe,
    layout,
    batchImages: Math.max(1, Math.floor(pictures / variantsPerImage(recipe))),
    numShares: share.count,
    device,
  });
  const there = whatIsThere(out, layout, recipe.size);
  const folder = `${out}.work`;
  if (there !== undefined && !existsSync(join(folder, PLAN_FILE))) {
    rmSync(folder, { recursive: true, force: true }); // whose removal a kill cut short
    yield* alreadyThere(out, there.madeFrom === planHash(plan), plan);
    return;
  }
  mkdirSync(dirname(out), { recursive: true });
  for (const message of joinJob(folder, plan)) yield { kind: 'warning', message };
  const parts = partsOf(folder, plan);
  // Shares without images are many where processes are.
  const lockFolder = join(folder, `share-${share.index}.lock`);
  yield* doShare(parts[share.index]!, plan, source, tokenizer, options, lockFolder);
  const now = whatIsThere(out, layout, recipe.size);
  if (now !== undefined && !existsSync(join(folder, PLAN_FILE))) {
    yield* alreadyThere(out, now.madeFrom === planHash(plan), plan);
    return;
  }
  const missing = parts.flatMap((part, index) => (part.isWhole() ? [] : [index]));
  if (missing.length > 0) {
    const message = `share ${share.index}/${share.count} is done; still to come: ${missing.join(', ')}`;
    yield { kind: 'note', message };
    yield { kind: 'result', result: { out, share: `${share.index}/${share.count}`, missing, finished: false } };
    return;
  }
  signal?.throwIfAborted();
  yield* finish(parts, plan, source, out, folder);
}

async function* doShare(
  layout: PartLayout,
  plan: WorkPlan,
  source: ImageFolder,
  tokenizer: Tokenizer,
  { signal, workers }: TokenizeOptions,
  lockFolder: string,
): AsyncGenerator<PipelineEvent> {
  if (layout.isWhole()) return;
  mkdirSync(lockFolder, { recursive: true });
  const unlock = lockRun(lockFolder);
  const { size } = plan.recipe;
  const total = layout.end - layout.first;
  yield {
    kind: 'stage',
    stage: 'tokens',
    message: `turning ${total} images into ${plan.gridSize}×${plan.gridSize} tokens at ${size} px`,
  };
  const writer = new PartWriter(layout, plan.batchImages);
  const pool = new ImagePool(plan.recipe, workers === undefined ? {} : { workers });
  try {
    if (writer.done > 0) yield { kind: 'note', message: `going on after ${writer.done} of ${total} images` };
    yield* encodeShare({ plan, layout, writer, items: source.items, pool, tokenizer, signal });
  } finally {
    writer.close();
    await pool.close();
    unlock();
  }
}

async function* finish(
  parts: readonly PartLayout[],
  plan: WorkPlan,
  source: ImageFolder,
  out: string,
  folder: string,
): AsyncGenerator<PipelineEvent> {
  let unlock: () => void;
  try {
    unlock = lockRun(folder);
  } catch (error) {
    if (!(error instanceof TrainingError) || error.code !== 'RUN_BUSY') throw error;
    yield { kind: 'note', message: 'another process of this job is writing the output' };
    yield { kind: 'result', result: { out, finished: false } };
    return;
  }
  try {
    const { numImages, numBroken, report } = yield* mergeParts(parts, plan, source, out);
    // The plan first: half a folder with it would ask for its lost parts again.
    rmSync(join(folder, PLAN_FILE));
    rmSync(folder, { recursive: true, force: true });
    if (report !== undefined) {
      yield { kind: 'warning', message: `${numBroken} of ${plan.numImages} images could not be read: ${report}` };
    }
    yield { kind: 'file', path: out, what: 'the tokens' };
    yield { kind: 'result', result: { ...resultOf(out, plan), images: numImages, broken: numBroken } };
  } finally {
    unlock();
  }
}

function* alreadyThere(out: string, isSame: boolean, plan: WorkPlan): Generator<PipelineEvent> {
  if (!isSame) {
    throw new PipelineError(
      'TOKENIZE_TAKEN',
      `${out} is there already, made of other images, with another tokenizer or other settings: remove it, or choose ` +
        'another --out.',
    );
  }
  yield { kind: 'note', message: `${out} is there already, made of the same: nothing to do` };
  yield { kind: 'result', result: { ...resultOf(out, plan), images: plan.numImages } };
}

function resultOf(out: string, plan: WorkPlan): Record<string, unknown> {
  const { gridSize, codebookSize, layout, recipe } = plan;
  return { out, layout, gridSize, codebookSize, picturesPerImage: variantsPerImage(recipe), finished: true };
}

function* describe({ classes, items, ignored }: ImageFolder): Generator<PipelineEvent> {
  if (ignored.length > 0) {
    const { path, reason } = ignored[0]!;
    yield { kind: 'warning', message: `${ignored.length} files passed over, such as ${path}: ${reason}` };
  }
  const named = classes.length === 1 ? '1 class' : `${classes.length} classes`;
  yield { kind: 'note', message: `${items.length} images of ${named}` };
  const [first] = items;
  const id = WORDNET_FOLDER.exec(first?.relativePath ?? '')?.[1];
  // Either all classes have their standard names or none has (imagenetNames).
  const isImagenet = id !== undefined && imagenetClasses().get(id) === classes[first!.label];
  if (isImagenet && classes.length < imagenetClasses().size) {
    yield {
      kind: 'note',
      message: `${classes.length} of ImageNet's 1,000 classes, labelled 0 to ${classes.length - 1}: --class-names imagenet keeps their labels among the 1,000`,
    };
  }
}
