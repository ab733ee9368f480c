/**
 * The first steps of masked generation, kept. With every token masked the logits depend on the class alone, not on image, noise or
 * strategy, so whoever draws many images with the same weights runs them once a class: of T steps one less, and of a guided
 * step both branches. The originals run them for every image.
 *
 * Shapes: B images, L tokens, V codes.
 */

import { keep, scope, stack, type Tensor, tensor } from '@tessera/torch';
import type { GeneratorModel, MaskedModel, SessionPrediction } from '../models/family.ts';
import { beside } from '../nn/device.ts';
import { allMasked } from '../sampling/masked-sampler.ts';

/** Logits kept at most, 1 GiB of float32: room for ImageNet's classes at 256 tokens of 1,024 codes. */
const DEFAULT_NUMBERS = 2 ** 28;

/**
 * Those of a masked model; undefined for one of another kind, and where a class is gone by the time it comes again. The
 * caller's.
 *
 * @param labels of the images to come, where they are known
 */
export function openingsOf(model: GeneratorModel, labels: readonly number[] = []): Openings | undefined {
  return model.generation === 'masked' && !areForgotten(model, labels) ? new Openings(model) : undefined;
}

/** Whether most labels come again only when they are gone, of more classes than may be kept: they would be run alone, for nothing. */
function areForgotten({ seqLen, config }: MaskedModel, labels: readonly number[]): boolean {
  const room = Math.max(1, Math.floor(DEFAULT_NUMBERS / (seqLen * config.codebookSize)));
  if (new Set(labels).size <= room) return false;
  const kept = new Set<number>();
  let runs = 0;
  for (const label of labels) {
    if (!kept.delete(label)) runs += 1;
    kept.add(label);
    for (const oldest of kept) {
      if (kept.size <= room) break;
      kept.delete(oldest);
    }
  }
  return runs > labels.length / 2;
}

export class Openings {
  private readonly model: MaskedModel;
  private readonly maxNumbers: number;
  /** [L, V] by label; what was asked for least recently comes first. */
  private readonly kept = new Map<number, Tensor>();
  private numbers = 0;

  /**
   * @param model stays the caller's; its weights must not change
   * @param maxNumbers logits kept at most after a call; what was asked for least recently goes first
   */
  constructor(model: MaskedModel, maxNumbers = DEFAULT_NUMBERS) {
    this.model = model;
    this.maxNumbers = maxNumbers;
  }

  /** What the first step predicts for images of these labels: [B, L, V] a branch, in the caller's scope. */
  predict(labels: readonly number[], guided: boolean): SessionPrediction {
    const cond = stack(labels.map((label) => this.logitsOf(label)));
    const uncond = guided ? this.logitsOf(this.model.nullLabel).clone().expand([labels.length, -1, -1]) : undefined;
    this.forget();
    return { cond, uncond };
  }

  /** The same of one batch, for GenerationOptions. */
  of(labels: readonly number[]): (guided: boolean) => SessionPrediction {
    return (guided) => this.predict(labels, guided);
  }

  dispose(): void {
    for (const logits of this.kept.values()) logits.dispose();
    this.kept.clear();
    this.numbers = 0;
  }

  private logitsOf(label: number): Tensor {
    const logits = this.kept.get(label) ?? this.run(label);
    this.kept.delete(label);
    this.kept.set(label, logits);
    return logits;
  }

  /** One row at a time, so that a class's logits are the same bits whatever was asked for before. */
  private run(label: number): Tensor {
    const { model } = this;
    const logits = scope(() => {
      const session = model.startSession(beside(tensor([label], 'int64'), model), false);
      try {
        const { tokens, masked, fresh } = allMasked(1, model.seqLen, model.maskToken, model.device);
        const { cond } = session.predict({ tokens, masked: masked!, fresh, blank: true }, 'done');
        return keep(cond.select(0, 0));
      } finally {
        session.dispose();
      }
    });
    this.numbers += logits.numel;
    return logits;
  }

  private forget(): void {
    for (const [label, logits] of this.kept) {
      if (this.numbers <= this.maxNumbers) break;
      this.kept.delete(label);
      this.numbers -= logits.numel;
      logits.dispose();
    }
  }
}
