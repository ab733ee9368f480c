/**
 * `tessera sample` from a checkpoint and a tokenizer: the PNG tree and the `arr_0` archive of LlamaGen's script (reference
 * §4.3), with its names, its rounding and its resizing after decoding; the same for the other families.
 *
 *   OUT/{model}-{weights}-size-{size}-size-{output}-{tokenizer}-topk-…-seed-{seed}/{000000}.png
 *   OUT/{the same}.npz
 *   OUT/{the same}.json    what the pictures follow from, so that no others are mixed with them
 *
 * Labels and noise belong to (seed, image index): any number of processes, batches and restarts give the same files.
 * Pictures that are there are not drawn again. Each process of a group takes the images of its rank (RANK and
 * WORLD_SIZE); the archive is written by the one that finds all of them.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isAutoregressive, type SamplingSettings } from '@tessera/schedule';
import { noGrad, scope, type Tensor, tensor, upsampleBicubic2d } from '@tessera/torch';
import { encodePng, gridPng } from '../data/contact-sheet.ts';
import { decodeImage, type RgbImage } from '../data/image.ts';
import { classNamesOf } from '../data/imagenet-classes.ts';
import { replaceWhole } from '../data/whole-folder.ts';
import type { GeneratorModel, GivenFields } from '../models/family.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { chooseSampling, describeSampling, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import { toRgbImages } from './decode-tokens.ts';
import { hashOfFile } from './evaluate/image-set.ts';
import { type DrawnImage, drawImages, labelOf } from './evaluation-images.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { loadOfficialTokenizer } from './load-weights.ts';
import { openGenerator, type WeightsType, weightsFile } from './open-generator.ts';
import { ownStrategy } from './own-strategy.ts';
import { chooseTokenizer } from './tokenize/choose-tokenizer.ts';
import { fingerprintOfTokenizer } from './tokenize/work-plan.ts';
import { ImagesNpzWriter } from './write-npz.ts';

export interface SampleEvaluationOptions extends StrategyChoice, Omit<GivenFields, 'gridSize'> {
  model: ModelPreset;
  /** Of the generator: a file, or a folder with consolidated.pth. */
  weights: string;
  /** A tokenizer or model folder, or the name of an architecture; default: what `tokenizerWeights` is. */
  tokenizer?: string | undefined;
  /** Of the tokenizer: a file. */
  tokenizerWeights?: string | undefined;
  /** Pixels that the model draws. Default: its preset's. */
  size?: number | undefined;
  /** Pixels of the pictures; another size is reached by bicubic interpolation. Default: `size`. */
  outputSize?: number | undefined;
  /** Instead of a tree: one picture of the eight classes of LlamaGen's demo. */
  demoGrid?: boolean | undefined;
  /** Default with classes: about 64; without them it must be given. */
  numImages?: number | undefined;
  /** Default: labels are drawn. */
  classes?: readonly string[] | undefined;
  perClass?: number | undefined;
  /** Of the weights while a GPT generates; default: as they come. */
  dtype?: WeightsType | undefined;
  batch?: number | undefined;
  seed?: number | undefined;
  /** Where the tree goes. Default: `samples`. */
  out?: string | undefined;
  /** Another name for the archive; default: beside the tree. */
  npz?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** The original script's number of images a process. */
const DEFAULT_BATCH = 32;
/** What LlamaGen's demo draws: macaw, balloon, volcano, valley, sulphur-crested cockatoo, geyser, golden retriever, arctic fox. */
const DEMO_CLASSES = [207, 360, 387, 974, 88, 979, 417, 279];
const DEMO_SETTINGS = { guidanceScale: 4, topK: 2000 };

export async function* sampleEvaluation(options: SampleEvaluationOptions): AsyncGenerator<PipelineEvent> {
  const { demoGrid = false } = options;
  const tokenizer = openTokenizer(options);
  let model: GeneratorModel | undefined;
  try {
    const size = options.size ?? modelPreset(options.model).config.gridSize * tokenizer.downsampleFactor;
    model = openModel(options, size, tokenizer);
    const run: Run = { model, tokenizer, size, outputSize: options.outputSize ?? size, options };
    yield* demoGrid ? drawGrid(run) : drawTree(run);
  } finally {
    model?.dispose();
    tokenizer.dispose();
  }
}

interface Run {
  model: GeneratorModel;
  tokenizer: Tokenizer;
  size: number;
  outputSize: number;
  options: SampleEvaluationOptions;
}

async function* drawTree(run: Run): AsyncGenerator<PipelineEvent> {
  const { model, tokenizer, outputSize, options } = run;
  const { seed = 0, batch = DEFAULT_BATCH, signal } = options;
  const settings = settingsOf(run, {});
  const labels = labelsOf(run, seed);
  const { count } = labels;
  const name = treeName(run, settings, seed);
  const folder = join(options.out ?? 'samples', name);
  mkdirSync(folder, { recursive: true });
  requireSame(`${folder}.json`, {
    weights: await hashOfFile(weightsFile(options.weights)),
    tokenizer: fingerprintOfTokenizer(tokenizer),
    family: model.family,
    config: model.config,
    dtype: options.dtype ?? 'float32',
    settings,
    labels: labels.from,
    outputSize,
    seed,
  });
  const fileOf = (image: number): string => `${String(image).padStart(6, '0')}.png`;
  const there = new Set(readdirSync(folder));
  const { rank, world } = processOf(process.env);
  const mine = range(count).filter((image) => image % world === rank);
  const images = mine.filter((image) => !there.has(fileOf(image)));
  const message = `${images.length} of ${mine.length} images to draw, ${run.size} px, ${describeSampling(settings)}, seed ${seed}: ${name}`;
  yield { kind: 'stage', stage: 'sample', message };
  let done = mine.length - images.length;
  for await (const drawn of drawImages(model, { settings, seed, images, labelOf: labels.of, batch, signal })) {
    const pictures = toPictures(run, drawn);
    for (const [i, { image }] of drawn.entries()) {
      replaceWhole(join(folder, fileOf(image)), await encodePng(pictures[i]!));
    }
    done += drawn.length;
    yield { kind: 'progress', stage: 'sample', done, total: mine.length, unit: 'images' };
  }
  const result: Record<string, unknown> = { out: folder, numImages: mine.length, seed, settings };
  const all = new Set(readdirSync(folder));
  const missing = range(count).filter((image) => !all.has(fileOf(image))).length;
  if (missing > 0) {
    yield { kind: 'note', message: `${missing} images are other processes' and not there yet: no archive written` };
  } else {
    const npz = options.npz ?? `${folder}.npz`;
    yield* writeArchive(npz, range(count).map((image) => join(folder, fileOf(image))), outputSize, signal); // biome-ignore format: one row
    yield { kind: 'file', path: npz, what: 'all pixels as arr_0' };
    result.npz = npz;
  }
  yield { kind: 'result', result };
}

/** Four columns, as the original's demo. */
async function* drawGrid(run: Run): AsyncGenerator<PipelineEvent> {
  const { model, options } = run;
  const { seed = 0, batch = DEFAULT_BATCH, signal } = options;
  const { numClasses } = model.config;
  // Other data sets have other classes: eight of them, evenly.
  const spread = DEMO_CLASSES.map((_, i) => Math.floor((i * numClasses) / DEMO_CLASSES.length));
  const classes = numClasses === 1000 ? DEMO_CLASSES : spread;
  const settings = settingsOf(run, DEMO_SETTINGS);
  yield { kind: 'stage', stage: 'sample', message: `Classes ${classes.join(', ')}, ${run.size} px, seed ${seed}` };
  const pictures = new Map<number, RgbImage>();
  const images = range(classes.length);
  for await (const drawn of drawImages(model, { settings, seed, images, labelOf: (i) => classes[i]!, batch, signal })) {
    for (const [i, picture] of toPictures(run, drawn).entries()) pictures.set(drawn[i]!.image, picture);
  }
  const folder = options.out ?? 'samples';
  const path = join(folder, `demo-${treeName(run, settings, seed)}.png`);
  mkdirSync(folder, { recursive: true });
  const grid = images.map((image) => pictures.get(image)!);
  writeFileSync(path, await gridPng(grid, { columns: 4, scale: 1 }));
  yield { kind: 'file', path, what: 'eight classes' };
  yield { kind: 'result', result: { out: folder, file: path, classes, seed, settings } };
}

function settingsOf({ model, options }: Run, defaults: StrategyChoice): SamplingSettings {
  const own = ownStrategy(options.model, model);
  if (model.generation === 'masked') return chooseSampling(options, own, 'masked');
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return chooseSampling({ ...defaults, ...Object.fromEntries(given) }, own, 'autoregressive');
}

interface Labels {
  count: number;
  of(image: number): number;
  /** What they follow from. */
  from: unknown;
}

function labelsOf({ model, options }: Run, seed: number): Labels {
  const { classes, perClass, numImages } = options;
  const { numClasses } = model.config;
  if (classes === undefined && perClass === undefined) {
    if (numImages === undefined) throw new PipelineError('OPTIONS', 'Expected the number of images (--num-images).');
    return { count: numImages, of: (image) => labelOf(seed, image, numClasses), from: 'drawn' };
  }
  const { labels, chosen } = planImages(classes ?? [], numClasses, classNamesOf(numClasses), options);
  return { count: labels.length, of: (image) => labels[image]!, from: chosen };
}

/** Decoded; resized without antialiasing where asked for. */
function toPictures({ tokenizer, outputSize }: Run, drawn: readonly DrawnImage[]): RgbImage[] {
  const rows = drawn.map(({ tokens }) => tokens);
  return noGrad(() =>
    scope(() => {
      const tokens = tensor(rows, 'int64');
      // LlamaGen cuts off, the others round.
      if (tokenizer.family === 'llamagen-vq') return toOriginalPixels(tokenizer.decodeUnclamped(tokens), outputSize);
      return toRgbImages(resized(tokenizer.decode(tokens), outputSize));
    }),
  );
}

/** images — [N, 3, Y, X] float32, nominally in [-1, 1]; 127.5 x + 128 cut off to bytes, as LlamaGen's script does. */
export function toOriginalPixels(images: Tensor, outputSize: number): RgbImage[] {
  const sized = resized(images, outputSize);
  const bytes = sized.mul(127.5).add(128).clamp(0, 255).permute([0, 2, 3, 1]).to('uint8').toBytes();
  const count = outputSize * outputSize * 3;
  return Array.from({ length: images.size(0) }, (_, i) => ({
    width: outputSize,
    height: outputSize,
    data: bytes.slice(i * count, (i + 1) * count),
  }));
}

function resized(images: Tensor, size: number): Tensor {
  return images.size(2) === size ? images : upsampleBicubic2d(images, [size, size], false);
}

function openTokenizer({ tokenizer, tokenizerWeights: weights }: SampleEvaluationOptions): Tokenizer {
  if (tokenizer !== undefined) return chooseTokenizer({ tokenizer, weights }).tokenizer;
  if (weights === undefined) throw new PipelineError('OPTIONS', 'Expected a tokenizer (--tokenizer-weights FILE).');
  if (!existsSync(weights)) throw new PipelineError('NOT_FOUND', `${weights}: no such file or folder.`);
  return scope(() => loadOfficialTokenizer(weights));
}

function openModel(options: SampleEvaluationOptions, size: number, tokenizer: Tokenizer): GeneratorModel {
  const { model: preset, weights, encoderDepth, decoderDepth, numHeads } = options;
  const factor = tokenizer.downsampleFactor;
  if (size % factor !== 0) {
    throw new PipelineError('OPTIONS', `Expected a size of whole tokens of ${factor} px, got ${size} px.`);
  }
  const gridSize = size / factor;
  const model = openGenerator({
    weights,
    preset,
    gridSize,
    encoderDepth,
    decoderDepth,
    numHeads,
    exactly: true,
    dtype: options.dtype,
  });
  try {
    const { codebookSize, gridSize: side } = model.config;
    if (side !== gridSize) {
      throw new PipelineError('OPTIONS', `Expected a size of ${side * factor} px, a ${side}x${side} grid, got ${size} px.`); // biome-ignore format: one row
    }
    if (codebookSize !== tokenizer.codebookSize) {
      throw new PipelineError(
        'CODEBOOK',
        `The model has ${codebookSize} codes, the tokenizer ${tokenizer.codebookSize}: they do not belong together.`,
      );
    }
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** LlamaGen's script's folder name; a sharded checkpoint is named by its folder. Other families by their strategy. */
function treeName(
  { model, tokenizer, size, outputSize, options }: Run,
  settings: SamplingSettings,
  seed: number,
): string {
  const { model: preset, weights } = options;
  const file = basename(weights) === 'consolidated.pth' ? basename(dirname(weights)) : basename(weights);
  const checkpoint = file.replace(/\.(pt|pth|safetensors)$/, '');
  const sizes = `${checkpoint}-size-${size}-size-${outputSize}`;
  if (isAutoregressive(settings)) {
    const { topK, topP, temperature, guidanceScale } = settings;
    const gpt = preset.replace('gpt-', 'GPT-').replace(/-(\w+)$/, (_, name: string) => `-${name.toUpperCase()}`);
    const filters = `topk-${topK}-topp-${pythonFloat(topP)}-temperature-${pythonFloat(temperature)}`;
    return `${gpt}-${sizes}-VQ-${tokenizer.downsampleFactor}-${filters}-cfg-${pythonFloat(guidanceScale)}-seed-${seed}`;
  }
  const digest = createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 8);
  return `${model.family}-${sizes}-${tokenizer.family}-steps-${settings.numSteps}-strategy-${digest}-seed-${seed}`;
}

function pythonFloat(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** Pictures of a tree that is gone on with must follow from the same weights and settings. */
function requireSame(path: string, identity: Record<string, unknown>): void {
  const text = `${JSON.stringify(identity, undefined, 2)}\n`;
  if (!existsSync(path)) {
    replaceWhole(path, Buffer.from(text));
    return;
  }
  if (readFileSync(path, 'utf8') === text) return;
  throw new PipelineError(
    'OPTIONS',
    `The pictures beside ${path} were drawn with other weights or settings: take another --out, or remove both.`,
  );
}

async function* writeArchive(
  path: string,
  pictures: readonly string[],
  size: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent> {
  const archive = new ImagesNpzWriter(path, pictures.length, size);
  try {
    for (const [i, picture] of pictures.entries()) {
      signal?.throwIfAborted();
      archive.add(await decodeImage(picture));
      const done = i + 1;
      if (done % 256 === 0) yield { kind: 'progress', stage: 'archive', done, total: pictures.length, unit: 'images' };
    }
    archive.finish();
  } finally {
    archive.dispose();
  }
}

/** Which of several processes this is, by torchrun's environment. */
function processOf(env: NodeJS.ProcessEnv): { rank: number; world: number } {
  const [rank, world] = [Number(env.RANK ?? 0), Number(env.WORLD_SIZE ?? 1)];
  if (!Number.isInteger(rank) || !Number.isInteger(world) || rank < 0 || rank >= world) {
    throw new PipelineError('OPTIONS', `Expected RANK below WORLD_SIZE, got ${env.RANK} and ${env.WORLD_SIZE}.`);
  }
  return { rank, world };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
