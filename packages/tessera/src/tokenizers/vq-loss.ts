/**
 * The training loss of a tokenizer (reference §1.7): reconstruction error, LPIPS, the quantizer's own terms, and from a
 * start step on the adversarial term of a discriminator, which learns beside it on the same reconstructions.
 *
 * Checked against the released trainer by the golden values of the kinds vq-loss and vq-train-steps. Differences: before
 * its start the discriminator rests altogether; the released trainer runs it with a weight of 0, which changes no weight
 * but counts Adam's steps and moves running statistics (`exactOriginal` does so too). The released flags of the
 * codebook's weight and of LPIPS's dropout are without and with effect by accident; here both do what they say.
 */

import { strictConfig } from '@tessera/schedule';
import { gradients, l1Loss, linalgVectorNorm, mseLoss, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import { adversarialLossSchema, discriminatorLoss, generatorLoss } from './adversarial-loss.ts';
import { type Discriminator, discriminatorSchema } from './discriminator.ts';
import type { Lpips } from './lpips.ts';
import type { Quantized } from './quantizer.ts';

const weight = z.number().min(0).max(1000);

export const vqLossSchema = strictConfig({
  /** Weights of the mean squared and mean absolute error in [-1, 1]. */
  l2Weight: weight.default(1),
  l1Weight: weight.default(0.1),
  /** Weight of LPIPS, where its weights are at hand. */
  perceptualWeight: weight.default(1),
  /** Dropout of LPIPS's feature differences; the released trainer has 0.5. */
  perceptualDropout: z.number().min(0).lt(1).default(0),
  /** Weight of codebook, commitment and entropy losses together. */
  codebookWeight: weight.default(1),
  /** Without one, no adversarial term. */
  discriminator: discriminatorSchema.optional(),
  /** Weight of the adversarial term and of the discriminator's loss. */
  adversarialWeight: weight.default(0.5),
  /** Of the discriminator, and of the tokenizer against it. */
  discriminatorLoss: adversarialLossSchema.default('hinge'),
  generatorLoss: adversarialLossSchema.default('hinge'),
  /** Steps done before the discriminator joins, itself included: with 20000, step number 20000 is its first. */
  discriminatorStart: z.int().min(0).max(1_000_000_000).default(0),
  /**
   * Scales the adversarial term so that its gradient at the decoder's last layer is as long as that of reconstruction and
   * LPIPS (Esser et al., CVPR 2021, equation 7).
   */
  adaptiveWeight: z.boolean().default(false),
  /** Runs the discriminator before its start too, with a weight of 0. */
  exactOriginal: z.boolean().default(false),
});

export type VqLossConfig = z.output<typeof vqLossSchema>;

/** Of the scale that adaptiveWeight gives. */
const MAX_ADAPTIVE_WEIGHT = 1e4;

export interface VqLossInput {
  /** Both [N, 3, Y, X] float32, nominally in [-1, 1] (Tokenizer.toLossRange). */
  images: Tensor;
  reconstruction: Tensor;
  /** Scalars of the quantizer. */
  codebook: Quantized['losses'];
  /** The decoder's last weight, for adaptiveWeight. */
  lastLayer: Tensor;
}

/** A scalar with a graph, and its terms as logged: weights are in them where the name says so. */
export interface NamedLoss {
  loss: Tensor;
  metrics: Record<string, Tensor | number>;
}

export class VqLoss {
  private readonly config: VqLossConfig;
  private readonly lpips: Lpips | undefined;
  private readonly discriminator: Discriminator | undefined;

  /** The networks are borrowed; without LPIPS or a discriminator their terms are left out. */
  constructor(
    config: VqLossConfig,
    networks: { lpips?: Lpips | undefined; discriminator?: Discriminator | undefined },
  ) {
    this.config = config;
    this.lpips = networks.lpips;
    this.discriminator = networks.discriminator;
  }

  /** Of the tokenizer. step — optimizer steps done before. */
  ofTokenizer({ images, reconstruction, codebook, lastLayer }: VqLossInput, step: number): NamedLoss {
    const { config, lpips } = this;
    const error = this.reconstructionError(images, reconstruction);
    const metrics: NamedLoss['metrics'] = { reconstruction: error.detach() };
    let picture = error;
    if (lpips !== undefined && config.perceptualWeight > 0) {
      const perceptual = lpips.distance(images, reconstruction, config.perceptualDropout).mean();
      metrics.perceptual = perceptual.detach();
      picture = picture.add(perceptual.mul(config.perceptualWeight));
    }
    const terms = Object.entries(codebook);
    for (const [name, term] of terms) metrics[name] = term.detach();
    const codes = terms.map(([, term]) => term).reduce((sum, term) => sum.add(term));
    let loss = picture.add(codes.mul(config.codebookWeight));
    if (this.discriminator !== undefined && this.runsAt(step)) {
      const adversarial = generatorLoss(config.generatorLoss, this.discriminator.forward(reconstruction, true));
      let scaled = adversarial.mul(this.adversarialWeightAt(step));
      if (config.adaptiveWeight) {
        const scale = adaptiveWeight(picture, adversarial, lastLayer);
        metrics.adaptiveWeight = scale;
        scaled = scaled.mul(scale);
      }
      metrics.weightedAdversarial = scaled.detach();
      loss = loss.add(scaled);
    }
    return { loss, metrics };
  }

  /** Of the discriminator, or undefined where there is none yet. Nothing flows back to the reconstruction. */
  ofDiscriminator({ images, reconstruction }: VqLossInput, step: number): NamedLoss | undefined {
    const { discriminator, config } = this;
    if (discriminator === undefined || !this.runsAt(step)) return undefined;
    // One after the other: each batch is normalised by itself.
    const real = discriminator.forward(images.detach(), true);
    const fake = discriminator.forward(reconstruction.detach(), true);
    const loss = discriminatorLoss(config.discriminatorLoss, real, fake).mul(this.adversarialWeightAt(step));
    const metrics = { logitsReal: real.detach().mean(), logitsFake: fake.detach().mean() };
    return { loss, metrics };
  }

  /** 0 before the start. */
  adversarialWeightAt(step: number): number {
    return this.hasStarted(step) ? this.config.adversarialWeight : 0;
  }

  private hasStarted(step: number): boolean {
    return step + 1 >= this.config.discriminatorStart;
  }

  private runsAt(step: number): boolean {
    return this.config.exactOriginal || this.hasStarted(step);
  }

  private reconstructionError(images: Tensor, reconstruction: Tensor): Tensor {
    const { l2Weight, l1Weight } = this.config;
    const l2 = mseLoss(reconstruction, images).mul(l2Weight);
    return l1Weight === 0 ? l2 : l2.add(l1Loss(reconstruction, images).mul(l1Weight));
  }
}

/** |∂picture| / (|∂adversarial| + 1e-4) at the last layer, at most 1e4: a scalar without a graph. */
function adaptiveWeight(picture: Tensor, adversarial: Tensor, lastLayer: Tensor): Tensor {
  const [ofPicture, ofAdversarial] = [picture, adversarial].map((loss) =>
    linalgVectorNorm(gradients([loss], [lastLayer], { retainGraph: true })[0]!),
  );
  return ofPicture!.div(ofAdversarial!.add(1e-4)).clamp(0, MAX_ADAPTIVE_WEIGHT);
}
