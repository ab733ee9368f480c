/**
 * `tessera sample` for evaluation, from official weights (LlamaGen and NPP; reference §4.3): the PNG tree and the `arr_0`
 * archive of the original script, with its names, its rounding and its resizing after decoding.
 *
 *   OUT/{model}-{weights}-size-{size}-size-{output}-{tokenizer}-topk-…-seed-{seed}/{000000}.png
 *   OUT/{the same}.npz
 *
 * Labels are drawn uniformly, one an image, and like the noise belong to (seed, image index): any number of processes,
 * batches and restarts give the same files. Pictures that are there are not drawn again. Each process of a group takes
 * the images of its rank (RANK and WORLD_SIZE); the archive is written by the one that finds all of them.
 */

import { existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { openFile } from '@tessera/formats/node';
import { type AutoregressiveSettings, NoisePurpose, noiseBits, uniformFromBits } from '@tessera/schedule';
import { fromBytes, noGrad, scope, type Tensor, tensor, upsampleBicubic2d } from '@tessera/torch';
import { encodePng } from '../data/contact-sheet.ts';
import { decodeImage, type RgbImage } from '../data/image.ts';
import type { AutoregressiveModel, GeneratorConfig } from '../models/family.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import { familyOf } from '../models/registry.ts';
import { loadModule, shapesOf } from '../nn/state-dict.ts';
import { tokenizerFamily, tokenizerFamilyNames } from '../tokenizers/registry.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { chooseSampling, type StrategyChoice } from './choose-strategy.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { readWeights } from './official/read-weights.ts';
import { writeImagesNpz } from './write-npz.ts';

export interface SampleEvaluationOptions extends StrategyChoice {
  model: ModelPreset;
  /** Of the generator: a file, or a folder with consolidated.pth. */
  weights: string;
  /** Of the tokenizer: a file. */
  tokenizerWeights: string;
  /** Pixels that the model draws. Default: its preset's. */
  size?: number | undefined;
  /** Pixels of the pictures; another size is reached by bicubic interpolation. Default: `size`. */
  outputSize?: number | undefined;
  numImages: number;
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
/** The archive is made in memory. */
const MOST_BYTES = 2 ** 32 - 2 ** 16;

export async function* sampleEvaluation(options: SampleEvaluationOptions): AsyncGenerator<PipelineEvent> {
  const { numImages, seed = 0, batch = DEFAULT_BATCH, signal } = options;
  const tokenizer = openWeights(options.tokenizerWeights, openTokenizer);
  let model: AutoregressiveModel | undefined;
  try {
    const { config: preset } = modelPreset(options.model);
    const size = options.size ?? preset.gridSize * tokenizer.downsampleFactor;
    const outputSize = options.outputSize ?? size;
    model = openModel(options, size, tokenizer);
    const settings = chooseSampling(options, undefined, 'autoregressive') as AutoregressiveSettings;
    const name = treeName(options, settings, tokenizer, size, outputSize, seed);
    const folder = join(options.out ?? 'samples', name);
    mkdirSync(folder, { recursive: true });
    const path = (image: number): string => join(folder, `${String(image).padStart(6, '0')}.png`);
    const { rank, world } = processOf(process.env);
    const mine = range(numImages).filter((image) => image % world === rank);
    const images = mine.filter((image) => !existsSync(path(image)));
    const message = `${images.length} of ${mine.length} images to draw, ${size} px, seed ${seed}: ${name}`;
    yield { kind: 'stage', stage: 'sample', message };
    let done = mine.length - images.length;
    for await (const finished of drawn(model, settings, images, { seed, batch, signal })) {
      const pictures = noGrad(() => scope(() => toPixels(tokenizer, finished, outputSize)));
      for (const [i, { image }] of finished.entries()) await writeWhole(path(image), await encodePng(pictures[i]!));
      done += finished.length;
      yield { kind: 'progress', stage: 'sample', done, total: mine.length, unit: 'images' };
    }
    const result: Record<string, unknown> = { out: folder, numImages: mine.length, seed, settings };
    const missing = range(numImages).filter((image) => !existsSync(path(image))).length;
    if (missing > 0) {
      yield { kind: 'note', message: `${missing} images are other processes' and not there yet: no archive written` };
    } else {
      const npz = options.npz ?? `${folder}.npz`;
      await writeArchive(npz, range(numImages).map(path), outputSize);
      yield { kind: 'file', path: npz, what: 'all pixels as arr_0' };
      result.npz = npz;
    }
    yield { kind: 'result', result };
  } finally {
    model?.dispose();
    tokenizer.dispose();
  }
}

/** The label of an image: uniform, a function of the seed and the image. */
export function labelOf(seed: number, imageIndex: number, numClasses: number): number {
  const address = { seed, imageIndex, step: 0, position: 0, code: 0, purpose: NoisePurpose.LABEL };
  return Math.floor(uniformFromBits(noiseBits(address)) * numClasses);
}

interface Finished {
  image: number;
  tokens: number[];
}

/** Images as they are finished, some at a time. */
async function* drawn(
  model: AutoregressiveModel,
  settings: AutoregressiveSettings,
  images: readonly number[],
  { seed, batch, signal }: { seed: number; batch: number; signal: AbortSignal | undefined },
): AsyncGenerator<Finished[]> {
  if (images.length === 0) return;
  const generation = new AutoregressiveGeneration(model, {
    settings,
    noise: philoxTokenNoise(seed),
    images,
    condition: (some, guided) => {
      const labels = some.map((image) => labelOf(seed, image, model.config.numClasses));
      return model.conditionOn(tensor(labels, 'int64').to(model.device as 'cpu'), guided);
    },
    slots: batch,
  });
  try {
    while (!generation.isDone) {
      signal?.throwIfAborted();
      const finished = generation.step().map(({ image, tokens }) => {
        const numbers = tokens.toNumbers();
        tokens.dispose();
        return { image, tokens: numbers };
      });
      if (finished.length > 0) yield finished;
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    generation.dispose();
  }
}

/** Decoded, resized without antialiasing where asked for, 127.5 x + 128 cut off to bytes: the original's pixels. */
function toPixels(tokenizer: Tokenizer, finished: readonly Finished[], outputSize: number): RgbImage[] {
  const tokens = tensor(
    finished.map((one) => one.tokens),
    'int64',
  );
  const decoded = tokenizer.decodeUnclamped(tokens);
  return toOriginalPixels(decoded, outputSize);
}

/** images — [N, 3, Y, X] float32, nominally in [-1, 1]. */
export function toOriginalPixels(images: Tensor, outputSize: number): RgbImage[] {
  const sized = images.size(2) === outputSize ? images : upsampleBicubic2d(images, [outputSize, outputSize], false);
  const bytes = sized.mul(127.5).add(128).clamp(0, 255).permute([0, 2, 3, 1]).to('uint8').toBytes();
  const count = outputSize * outputSize * 3;
  return Array.from({ length: images.size(0) }, (_, i) => ({
    width: outputSize,
    height: outputSize,
    data: bytes.slice(i * count, (i + 1) * count),
  }));
}

function openModel(options: SampleEvaluationOptions, size: number, tokenizer: Tokenizer): AutoregressiveModel {
  const { model: preset, weights } = options;
  const factor = tokenizer.downsampleFactor;
  if (size % factor !== 0) {
    throw new PipelineError('OPTIONS', `Expected a size of whole tokens of ${factor} px, got ${size} px.`);
  }
  const { family, config } = modelPreset(preset);
  const row = familyOf(family);
  if (row.generation !== 'autoregressive') {
    throw new PipelineError(
      'OPTIONS',
      `Expected a GPT, got ${preset}: sample it from a model folder (tessera import).`,
    );
  }
  const model = openWeights(weights, (tensors, where) => {
    const own = new Map([...tensors].filter(([name]) => !/kv_cache|freqs_cis|causal_mask/.test(name)));
    const { numHeads, embedDim } = config as GeneratorConfig & { numHeads: number; embedDim: number };
    const width = own.get('tok_embeddings.weight')?.size(-1);
    if (width !== embedDim) {
      throw new PipelineError(
        'WEIGHTS',
        `${where}: expected ${preset}, of width ${embedDim}, got ${width ?? 'no GPT'}.`,
      );
    }
    const found = row.inferConfig(shapesOf(own), { numHeads, gridSize: size / factor }, where);
    const [wanted, got] = [config, found].map((sizes) => (sizes as unknown as { depth: number }).depth);
    if (wanted !== got) {
      throw new PipelineError('WEIGHTS', `${where}: expected ${preset}, of ${wanted} blocks, got ${got}.`);
    }
    return loadModule((p) => row.construct(found, p), own, where);
  });
  if (model.generation !== 'autoregressive' || model.config.codebookSize === tokenizer.codebookSize) {
    return model as AutoregressiveModel;
  }
  const [had, got] = [model.config.codebookSize, tokenizer.codebookSize];
  model.dispose();
  throw new PipelineError('CODEBOOK', `The model has ${had} codes, the tokenizer ${got}: they do not belong together.`);
}

function openTokenizer(tensors: ReadonlyMap<string, Tensor>, where: string): Tokenizer {
  const name = tokenizerFamilyNames.find((family) => tensors.has(tokenizerFamily(family).marker));
  if (name === undefined) throw new PipelineError('WEIGHTS', `${where}: expected the weights of a tokenizer.`);
  const family = tokenizerFamily(name);
  const config = family.infer(shapesOf(tensors), where);
  return loadModule((p) => family.construct(config, p), tensors, where);
}

/** Reads a weights file, or a sharded checkpoint's consolidated.pth, and makes something of its tensors. */
function openWeights<T>(path: string, make: (tensors: Map<string, Tensor>, where: string) => T): T {
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  const file = statSync(path).isDirectory() ? join(path, 'consolidated.pth') : path;
  const reader = openFile(file);
  try {
    const { tensors } = readWeights(reader);
    return scope(() => {
      const loaded = [...tensors].map(
        ([name, { bytes, shape, dtype }]) => [name, fromBytes(bytes().slice(), shape, dtype as 'float32')] as const,
      );
      return make(new Map(loaded), file);
    });
  } finally {
    reader.close();
  }
}

/** The original script's folder name; a sharded checkpoint is named by its folder. */
function treeName(
  { model, weights }: SampleEvaluationOptions,
  { topK, topP, temperature, guidanceScale }: AutoregressiveSettings,
  tokenizer: Tokenizer,
  size: number,
  outputSize: number,
  seed: number,
): string {
  const file = basename(weights) === 'consolidated.pth' ? basename(dirname(weights)) : basename(weights);
  const checkpoint = file.replace(/\.(pt|pth|safetensors)$/, '');
  return [
    `${model.replace('gpt-', 'GPT-').replace(/-(\w+)$/, (_, sizeName: string) => `-${sizeName.toUpperCase()}`)}`,
    checkpoint,
    `size-${size}-size-${outputSize}`,
    `VQ-${tokenizer.downsampleFactor}`,
    `topk-${topK}-topp-${pythonFloat(topP)}-temperature-${pythonFloat(temperature)}`,
    `cfg-${pythonFloat(guidanceScale)}-seed-${seed}`,
  ].join('-');
}

function pythonFloat(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

async function writeArchive(path: string, pictures: readonly string[], size: number): Promise<void> {
  const bytes = pictures.length * size * size * 3;
  if (bytes > MOST_BYTES) {
    throw new PipelineError(
      'OPTIONS',
      `The archive of ${pictures.length} images of ${size} px would be ${bytes} bytes, more than fits at once (${MOST_BYTES}); the pictures are all there.`,
    );
  }
  const images: RgbImage[] = [];
  for (const picture of pictures) images.push(await decodeImage(picture));
  writeImagesNpz(path, images, size);
}

/** Under another name first: a picture is whole or absent. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  writeFileSync(`${path}.writing`, bytes);
  renameSync(`${path}.writing`, path);
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
