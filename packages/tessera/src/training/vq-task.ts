/**
 * Training of a VQ tokenizer without a discriminator: L2 and L1 between picture and reconstruction (in the network's
 * range [-1, 1]) plus the codebook and commitment losses, and revival of dead codes.
 *
 * Revival is a function of (step, weights) alone, so any number of ranks does the same and a resumed run needs no usage
 * counts: every few steps some training images, drawn for that step, are encoded; codes that they hardly use are moved
 * onto latents of theirs, drawn with a probability in proportion to the squared distance to the nearest code (as
 * k-means++ seeds its centres, Arthur and Vassilvitskii 2007; a uniform draw would pick flat background most times).
 */

import { DrawPurpose, type Draws, strictConfig } from '@tessera/schedule';
import { fromTypedArray, keep, l1Loss, manualSeed, mseLoss, noGrad, scope, type Tensor, where } from '@tessera/torch';
import { z } from 'zod';
import { initialise, type ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import { fromNetworkRange, LlamaGenVq, toNetworkRange } from '../tokenizers/llamagen-vq.ts';
import { TokenizerError } from '../tokenizers/tokenizer-error.ts';
import { tokenGrid, type VqConfig } from '../tokenizers/vq-config.ts';
import type { ShardResult, TrainingTask } from './task.ts';

export const vqRecipeSchema = strictConfig({
  /** Weights of the mean squared and mean absolute error in [-1, 1]. */
  l2Weight: z.number().min(0).max(1000).default(1),
  l1Weight: z.number().min(0).max(1000).default(0.1),
  /** Weight of codebook, commitment and entropy losses together. */
  codebookWeight: z.number().min(0).max(1000).default(1),
  /** Mirrors each image with probability 1/2: for photos; not where left and right mean something, as in flags. */
  horizontalFlip: z.boolean().default(false),
  /** Steps between revivals of dead codes; 0 for none. */
  reviveEvery: z.int().min(0).max(1_000_000).default(20),
  /** Steps after which codes are left where they are: revived codes need time to settle. */
  reviveUntil: z.int().min(0).max(1_000_000_000).default(1_000_000_000),
  /** Images encoded for a revival. */
  reviveImages: z.int().min(1).max(65536).default(256),
  /** A code is dead when its share of tokens is below this fraction of an even share. */
  deadBelow: z.number().min(0).max(1).default(0.03),
});

export type VqRecipe = z.output<typeof vqRecipeSchema>;

/** Decoded images of one size. */
export interface TrainingImages {
  /** [N, Y, X, 3] uint8 in one array. */
  pixels: Uint8Array;
  height: number;
  width: number;
}

export interface VqTaskOptions {
  config: VqConfig;
  recipe?: z.input<typeof vqRecipeSchema>;
  images: TrainingImages;
  /** Without any, the task has no evaluate(). */
  heldOut?: TrainingImages;
  /** Starts from these weights, by official name; `where` names them in errors. */
  init?: { tensors: ReadonlyMap<string, Tensor>; where: string };
  /** Seeds libtorch's generator before the first weights are drawn. Without it, call manualSeed before. */
  seed?: number;
}

export interface VqTask extends TrainingTask {
  readonly model: LlamaGenVq;
  readonly ema: LlamaGenVq;
  /** Frees images and networks. */
  dispose(): void;
}

/** The table of codes among the tokenizer's tensors. */
const CODEBOOK = 'quantize.embedding.weight';
/** Images a forward pass of evaluate() and of a revival. */
const BATCH = 128;

export function createVqTask(options: VqTaskOptions): VqTask {
  const { config, init, seed } = options;
  const recipe = vqRecipeSchema.parse(options.recipe ?? {});
  const images = imageTensor(config, options.images, 'images');
  const heldOut = options.heldOut === undefined ? undefined : imageTensor(config, options.heldOut, 'heldOut');
  const construct = (p: ParameterBuilder): LlamaGenVq => new LlamaGenVq(config, p);
  if (seed !== undefined) manualSeed(seed);
  const model = init === undefined ? initialise(construct) : loadModule(construct, init.tensors, init.where);
  const ema = loadModule(construct, model.state, 'the trained tokenizer');

  return {
    name: 'vq',
    model,
    ema,
    numItems: images.size(0),
    shardLoss(shard): ShardResult {
      let batch = pick(images, shard.items);
      if (recipe.horizontalFlip) batch = flipSome(batch, shard.draws(DrawPurpose.AUGMENT));
      return reconstructionLoss(model, toNetworkRange(batch), recipe);
    },
    afterStep(step, draws, averages): void {
      if (recipe.reviveEvery === 0 || step % recipe.reviveEvery !== 0 || step >= recipe.reviveUntil) return;
      noGrad(() => scope(() => reviveDeadCodes(model, averages, images, recipe, draws(DrawPurpose.CODEBOOK))));
    },
    ...(heldOut === undefined ? {} : { evaluate: () => measureReconstruction(ema, heldOut) }),
    dispose(): void {
      for (const owned of [images, heldOut, model, ema]) owned?.dispose();
    },
  };
}

/** images — [N, 3, Y, X] in [-1, 1]. */
function reconstructionLoss(model: LlamaGenVq, images: Tensor, recipe: VqRecipe): ShardResult {
  const { quantized, losses } = model.quantize(model.encodeToLatent(images));
  const output = model.decodeLatent(quantized);
  const l2 = mseLoss(output, images);
  const codebook = [losses.commitment, losses.entropy].reduce<Tensor>((a, b) => (b ? a.add(b) : a), losses.codebook);
  let loss = l2.mul(recipe.l2Weight).add(codebook.mul(recipe.codebookWeight));
  if (recipe.l1Weight > 0) loss = loss.add(l1Loss(output, images).mul(recipe.l1Weight));
  return { loss, metrics: { l2: l2.detach(), codebook: losses.codebook.detach(), loss: loss.detach() } };
}

function reviveDeadCodes(
  model: LlamaGenVq,
  averages: readonly ReadonlyMap<string, Tensor>[],
  images: Tensor,
  recipe: VqRecipe,
  draws: Draws,
): void {
  const { codebookSize } = model;
  const all = images.size(0);
  const count = Math.min(recipe.reviveImages, all);
  // With replacement where there are many images: a repetition is rare then, and a permutation of all would be slow.
  const order = Array.from({ length: count }, (_, i) => (count === all ? i : draws.integer(all)));
  const latents: Tensor[] = [];
  for (let i = 0; i < count; i += BATCH) {
    latents.push(scope(() => model.encodeToLatent(toNetworkRange(pick(images, order.slice(i, i + BATCH))))));
  }
  const { rows, tokens, squaredDistances } = model.quantizer.assign(latents);
  const used = tokens.bincount(undefined, codebookSize).toNumbers();
  const threshold = (recipe.deadBelow * tokens.numel) / codebookSize;
  const dead = used.flatMap((n, code) => (n <= threshold ? [code] : []));
  const chosen = drawInProportion(squaredDistances.toNumbers(), dead.length, draws);
  if (chosen.length === 0) return;
  const values = rows.indexSelect(0, int64(chosen)); // [dead, d]
  for (const state of [model.state, ...averages]) state.get(CODEBOOK)!.indexCopy_(0, int64(dead), values);
}

/** Held-out quality of the encoder, codebook and decoder together. */
function measureReconstruction(model: LlamaGenVq, images: Tensor): Record<string, number> {
  const used = new Float64Array(model.codebookSize);
  const errors: number[] = []; // mean squared error of each image, of values 0..255
  for (let i = 0; i < images.size(0); i += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, images.size(0) - i) }, (_, j) => i + j);
    noGrad(() =>
      scope(() => {
        const wanted = pick(images, batch);
        const latent = model.encodeToLatent(toNetworkRange(wanted));
        const { tokens, quantized } = model.quantize(latent);
        const got = fromNetworkRange(model.decodeLatent(quantized));
        const difference = got.mul(255).round().sub(wanted.mul(255).round());
        errors.push(...difference.square().mean([1, 2, 3]).toNumbers());
        for (const [code, n] of tokens.flatten().bincount(undefined, used.length).toNumbers().entries())
          used[code]! += n;
      }),
    );
  }
  const total = used.reduce((sum, n) => sum + n, 0);
  const entropy = used.reduce((sum, n) => (n === 0 ? sum : sum - (n / total) * Math.log(n / total)), 0);
  const mean = errors.reduce((sum, e) => sum + e, 0) / errors.length;
  return {
    /** Mean over images of each image's PSNR in dB. An exact image counts as an error of 1/4 level. */
    psnr: errors.reduce((sum, e) => sum + psnrOf(Math.max(e, 1 / 16)), 0) / errors.length,
    /** PSNR of the mean squared error over all images, in dB: never above the other. */
    psnrOfMeanError: psnrOf(Math.max(mean, 1 / 16)),
    codebookUsage: used.filter((n) => n > 0).length / used.length,
    perplexity: Math.exp(entropy),
  };
}

function psnrOf(meanSquaredError: number): number {
  return 10 * Math.log10(255 ** 2 / meanSquaredError);
}

/** `count` indices drawn with replacement, index i with probability weights[i] / sum; none if all weights are 0. */
function drawInProportion(weights: readonly number[], count: number, draws: Draws): number[] {
  const sums = new Float64Array(weights.length);
  let total = 0;
  for (const [i, weight] of weights.entries()) {
    total += Math.max(0, weight);
    sums[i] = total;
  }
  if (!(total > 0)) return [];
  return Array.from({ length: count }, () => {
    const target = draws.uniform() * total;
    let low = 0;
    let high = weights.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! > target) high = middle;
      else low = middle + 1;
    }
    return low;
  });
}

/** The images of these indices: [N, 3, Y, X] float32 in [0, 1]. */
function pick(images: Tensor, indices: readonly number[]): Tensor {
  return images.indexSelect(0, int64(indices)).permute([0, 3, 1, 2]).contiguous().to('float32').div(255);
}

function flipSome(images: Tensor, draws: Draws): Tensor {
  const flips = Uint8Array.from({ length: images.size(0) }, () => (draws.coin(0.5) ? 1 : 0));
  return where(fromTypedArray(flips, [flips.length, 1, 1, 1]).to('bool'), images.flip([3]), images);
}

function int64(values: readonly number[]): Tensor {
  return fromTypedArray(BigInt64Array.from(values, BigInt));
}

function imageTensor(config: VqConfig, { pixels, height, width }: TrainingImages, what: string): Tensor {
  tokenGrid(config, height, width);
  const size = height * width * 3;
  if (pixels.length === 0 || pixels.length % size !== 0) {
    throw new TokenizerError(
      'TRAINING_IMAGES',
      `Expected ${what} to hold one or more whole images of ${height}·${width}·3 = ${size} bytes, got ${pixels.length} bytes.`,
    );
  }
  return keep(fromTypedArray(pixels, [pixels.length / size, height, width, 3]));
}
