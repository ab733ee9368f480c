/**
 * Training of a VQ tokenizer: the losses of tokenizers/vq-loss.ts, with a discriminator trained beside it where the recipe
 * has one, and the revival of dead codes. Any tokenizer of the registry trains.
 */

import { DrawPurpose, type Draws, learningRateSchema, strictConfig } from '@tessera/schedule';
import { fromTypedArray, manualSeed, noGrad, scope, type Tensor, where } from '@tessera/torch';
import { z } from 'zod';
import type { PictureSource, Visit } from '../data/picture-set.ts';
import { beside, networkDevice } from '../nn/device.ts';
import { initialise, type ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import type { Discriminator, DiscriminatorConfig } from '../tokenizers/discriminator.ts';
import type { Lpips } from '../tokenizers/lpips.ts';
import { PatchDiscriminator } from '../tokenizers/patch-discriminator.ts';
import { type TokenizerFamilyName, tokenizerFamily } from '../tokenizers/registry.ts';
import { StyleganDiscriminator } from '../tokenizers/stylegan-discriminator.ts';
import { type Tokenizer, wholeGrid } from '../tokenizers/tokenizer.ts';
import { TokenizerError } from '../tokenizers/tokenizer-error.ts';
import { VqLoss, vqLossSchema } from '../tokenizers/vq-loss.ts';
import { type ImageBatches, measureReconstruction } from './measure-reconstruction.ts';
import { RecentTokens } from './recent-tokens.ts';
import { revivalImages, reviveDeadCodes } from './revive-codes.ts';
import type { ComingStep, ShardResult, TrainingTask } from './task.ts';

export const vqRecipeSchema = strictConfig({
  ...vqLossSchema.shape,
  /** Of the discriminator; default: the tokenizer's. */
  discriminatorLearningRate: learningRateSchema.optional(),
  /** A random square of each image at every visit, of 0.8 to 1 of its short side, instead of its centre. */
  randomCrop: z.boolean().default(false),
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
  /** Row of the registry of tokenizers. Default: llamagen-vq. */
  family?: TokenizerFamilyName;
  /** Of that family. */
  config: Readonly<Record<string, unknown>>;
  recipe?: z.input<typeof vqRecipeSchema>;
  images: TrainingImages | PictureSource;
  /** Without any, the task has no evaluate(). */
  heldOut?: TrainingImages;
  /** Starts from these weights, by official name; `where` names them in errors. */
  init?: { tensors: ReadonlyMap<string, Tensor>; where: string };
  /** The perceptual distance, borrowed; without it the recipe's term is left out. */
  lpips?: Lpips | undefined;
  /** Seeds libtorch's generator before the first weights are drawn. Without it, call manualSeed before. */
  seed?: number;
}

export interface VqTask extends TrainingTask {
  readonly model: Tokenizer;
  readonly ema: Tokenizer;
  /** Frees the networks. */
  dispose(): void;
}

/** Steps whose pictures are fetched in advance. */
const STEPS_AHEAD = 2;

/** The decoder's last weight, of every family. */
const LAST_LAYER = 'decoder.conv_out.weight';

export function createVqTask(options: VqTaskOptions): VqTask {
  const { family = 'llamagen-vq', config, init, seed, lpips } = options;
  const recipe = vqRecipeSchema.parse(options.recipe ?? {});
  const { downsampleFactor } = tokenizerFamily(family);
  const factor = downsampleFactor(config);
  const images = new Pictures(options.images, factor, 'images');
  const heldOut = options.heldOut === undefined ? undefined : new Pictures(options.heldOut, factor, 'heldOut');
  if (recipe.randomCrop && images.source.canCrop !== true) {
    throw new TokenizerError('TRAINING_IMAGES', 'randomCrop wants image files, got pictures that are cut already.');
  }
  const construct = (p: ParameterBuilder): Tokenizer => tokenizerFamily(family).construct(config, p);
  if (seed !== undefined) manualSeed(seed);
  const model = init === undefined ? initialise(construct) : loadModule(construct, init.tensors, init.where);
  const ema = loadModule(construct, model.state, 'the trained tokenizer');
  const discriminator = makeDiscriminator(recipe.discriminator, options.images);
  const lossOf = new VqLoss(recipe, { lpips, discriminator });
  const recent = new RecentTokens(model.codebookSize);
  const optimizer = recipe.discriminatorLearningRate;
  const { numImages, source } = images;
  const revives = (step: number): boolean =>
    recipe.reviveEvery > 0 && step % recipe.reviveEvery === 0 && step < recipe.reviveUntil;
  /** In the order in which shardLoss draws. */
  const visitsOf = (items: readonly number[], draws: Draws): Visit[] =>
    items.map((index) => (recipe.randomCrop ? { index, crop: [draws.word(), draws.word(), draws.word()] } : { index }));
  const visitsOfStep = ({ step, shards, draws }: ComingStep): Visit[] => [
    ...shards.flatMap((shard) => visitsOf(shard.items, shard.draws(DrawPurpose.AUGMENT))),
    ...(revives(step) ? revivalImages(draws(DrawPurpose.CODEBOOK), numImages, recipe.reviveImages) : []).map(
      (index): Visit => ({ index }),
    ),
  ];

  return {
    name: 'vq',
    model,
    ema,
    ...(discriminator === undefined
      ? {}
      : {
          parts: [
            {
              name: 'discriminator',
              model: discriminator,
              ...(optimizer === undefined ? {} : { optimizer: { learningRate: optimizer } }),
            },
          ],
        }),
    memory: new Map([['recentTokens', recent.window]]),
    numItems: numImages,
    ...(source.prepare === undefined
      ? {}
      : {
          prepare(coming) {
            const [now = [], ...soon] = Array.from({ length: 1 + STEPS_AHEAD }, (_, ahead) => {
              const step = coming(ahead);
              return step === undefined ? [] : visitsOfStep(step);
            });
            return source.prepare!(now, soon.flat());
          },
        }),
    shardLoss({ step, items, draws }): ShardResult {
      const augment = draws(DrawPurpose.AUGMENT);
      let batch = images.visit(visitsOf(items, augment));
      if (recipe.horizontalFlip) batch = flipSome(batch, augment);
      const wanted = model.toNetwork(batch);
      const { tokens, quantized, losses } = model.quantize(model.encodeToLatent(wanted));
      const input = {
        images: model.toLossRange(wanted),
        reconstruction: model.toLossRange(model.decodeLatent(quantized)),
        codebook: losses,
        lastLayer: model.state.get(LAST_LAYER)!,
      };
      const { loss, metrics } = lossOf.ofTokenizer(input, step);
      const judged = lossOf.ofDiscriminator(input, step);
      return {
        loss,
        ...(judged === undefined ? {} : { partLosses: { discriminator: judged.loss } }),
        observed: tokens,
        metrics: { ...metrics, ...judged?.metrics },
      };
    },
    observe(tokens) {
      model.quantizer.recordUsage(tokens);
      return { codebookUsage: recent.record(tokens) };
    },
    afterStep(step, draws, averages, ranks): void {
      if (!revives(step)) return;
      const { reviveImages: count, deadBelow } = recipe;
      const pick = (indices: readonly number[]): Tensor => images.pick(indices);
      const revival = { tokenizer: model, averages, numImages, pick, count, deadBelow, ranks };
      noGrad(() => scope(() => reviveDeadCodes({ ...revival, draws: draws(DrawPurpose.CODEBOOK) })));
    },
    ...(heldOut === undefined ? {} : { evaluate: () => measureReconstruction(ema, heldOut) }),
    dispose(): void {
      for (const owned of [model, ema, discriminator, recent]) owned?.dispose();
    },
  };
}

function makeDiscriminator(
  config: DiscriminatorConfig | undefined,
  { height, width }: { height: number; width: number },
): Discriminator | undefined {
  switch (config?.kind) {
    case undefined:
      return undefined;
    case 'patchgan':
      return initialise((p) => new PatchDiscriminator(p, config));
    case 'stylegan': {
      if (height === width) return initialise((p) => new StyleganDiscriminator(p, { side: height, ...config }));
      const got = `${width}×${height}`;
      throw new TokenizerError('DISCRIMINATOR', `The StyleGAN discriminator expects square images, got ${got}.`);
    }
    default:
      return config satisfies never;
  }
}

function flipSome(images: Tensor, draws: Draws): Tensor {
  const flips = Uint8Array.from({ length: images.size(0) }, () => (draws.coin(0.5) ? 1 : 0));
  const chosen = beside(fromTypedArray(flips, [flips.length, 1, 1, 1]), images).to('bool');
  return where(chosen, images.flip([3]), images);
}

/** Pictures as the networks want them. */
class Pictures implements ImageBatches {
  readonly source: PictureSource;

  /** factor — pixels of a token's side; `what` names the images in errors. */
  constructor(images: TrainingImages | PictureSource, factor: number, what: string) {
    wholeGrid(factor, images.height, images.width);
    this.source = 'numImages' in images ? images : inMemory(images, what);
  }

  get numImages(): number {
    return this.source.numImages;
  }

  pick(indices: readonly number[]): Tensor {
    return this.visit(indices.map((index) => ({ index })));
  }

  /** [n, 3, Y, X] float32 in [0, 1]. */
  visit(visits: readonly Visit[]): Tensor {
    const { height, width } = this.source;
    const size = height * width * 3;
    const batch = new Uint8Array(visits.length * size);
    for (const [i, visit] of visits.entries()) batch.set(this.source.pixels(visit), i * size);
    const pictures = fromTypedArray(batch, [visits.length, height, width, 3]);
    return beside(pictures, { device: networkDevice() }).permute([0, 3, 1, 2]).contiguous().to('float32').div(255);
  }
}

function inMemory({ pixels, height, width }: TrainingImages, what: string): PictureSource {
  const size = height * width * 3;
  if (pixels.length === 0 || pixels.length % size !== 0) {
    throw new TokenizerError(
      'TRAINING_IMAGES',
      `Expected ${what} to hold one or more whole images of ${height}·${width}·3 = ${size} bytes, got ${pixels.length} bytes.`,
    );
  }
  const numImages = pixels.length / size;
  return { numImages, height, width, pixels: ({ index }) => pixels.subarray(index * size, (index + 1) * size) };
}
