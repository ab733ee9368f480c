/**
 * A whole generation of a masked model as one CUDA graph. With a strategy, a batch and a seed all shapes are known before
 * the first step, so all steps are recorded together; labels and image indices stand in tensors that each batch writes
 * anew. Recording costs about two generations on the host, so it is done when a batch of the same kind comes a second
 * time, and a model keeps the last one only.
 *
 * Exact ties of AutoNAT's threshold rule would make shapes depend on values: the graph breaks them by position, says so at
 * the end, and such a batch is drawn again step by step. The ids are therefore those of the plain loop.
 */

import { resolveSteps, type Strategy } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor, tensor, zeros } from '@tessera/torch';
import type { GeneratorModel, MaskedModel, SessionPrediction } from '../models/family.ts';
import { beside } from '../nn/device.ts';
import { type Replay, replayable } from '../nn/replay.ts';
import { forgetDecoding } from './decoding.ts';
import { generateTokens, MaskedGeneration, orderRanks } from './masked-generation.ts';
import { philoxNoise } from './noise-source.ts';
import type { Openings } from './openings.ts';

export interface MaskedBatch {
  strategy: Strategy;
  /** Class of each image. */
  labels: readonly number[];
  seed: number;
  /** Index of each image in the run. */
  images: readonly number[];
  /** Of the model and its weights: the first step is then not recorded. */
  openings?: Openings | undefined;
}

/** What was drawn last by a model, and its graph from the second time on. */
const LAST = new WeakMap<GeneratorModel, { key: string; graph: MaskedGraph | undefined }>();

/** All tokens of a batch, [B, L] int64, the caller's; undefined where the batch is the first of its kind. */
export function generateByGraph(model: MaskedModel, batch: MaskedBatch): Tensor | undefined {
  const key = JSON.stringify([batch.strategy, batch.labels.length, batch.seed, batch.openings !== undefined]);
  const last = LAST.get(model);
  if (last?.key !== key) {
    forgetGraph(model);
    LAST.set(model, { key, graph: undefined });
    return undefined;
  }
  if (last.graph === undefined) {
    last.graph = new MaskedGraph(model, batch);
    model.companions.add(last.graph);
  }
  return last.graph.generate(batch);
}

/** Frees what is recorded of a model, with its memory: when a run is over. */
export function forgetGraph(model: GeneratorModel): void {
  forgetDecoding(model);
  const graph = LAST.get(model)?.graph;
  LAST.delete(model);
  if (graph === undefined) return;
  model.companions.delete(graph);
  graph.dispose();
}

export class MaskedGraph {
  private readonly model: MaskedModel;
  private readonly labels: Tensor; // [B] int64
  private readonly images: Tensor; // [B] int64
  private readonly ranks: Tensor | undefined;
  /** What the first step predicts, where it is not recorded. */
  private readonly opening: SessionPrediction | undefined;
  private readonly replay: Replay<{ tokens: Tensor; tied: Tensor | undefined }>;

  constructor(model: MaskedModel, { strategy, labels, seed, openings }: Omit<MaskedBatch, 'images'>) {
    this.model = model;
    const { device } = model;
    const guided = resolveSteps(strategy, model.seqLen)[0]!.guidanceScale !== 1;
    this.opening = scope(() => kept(openings?.predict(labels, guided)));
    const make = (): Tensor => scope(() => keep(zeros([labels.length], { dtype: 'int64', device })));
    this.labels = make();
    this.images = make();
    this.ranks = orderRanks(model, strategy);
    const { opening } = this;
    const options = {
      strategy,
      labels: this.labels,
      noise: philoxNoise(seed, this.images),
      ranks: this.ranks,
      opening: opening === undefined ? undefined : () => opening,
    };
    this.replay = replayable(device, () => {
      const generation = new MaskedGeneration(model, { ...options, ties: 'report' });
      try {
        let tokens = generation.step();
        while (!generation.isDone) {
          tokens.dispose();
          tokens = generation.step();
        }
        return { tokens, tied: generation.hadTies?.clone() };
      } finally {
        generation.dispose();
      }
    });
  }

  /** [B, L] int64, the caller's. `batch` has the strategy, size and seed of the graph. */
  generate(batch: MaskedBatch): Tensor {
    const { model, replay } = this;
    return noGrad(() =>
      scope(() => {
        this.labels.copy_(beside(tensor([...batch.labels], 'int64'), model));
        this.images.copy_(beside(tensor([...batch.images], 'int64'), model));
        // The unconditional branch is the same in every batch.
        if (batch.openings !== undefined) this.opening?.cond.copy_(batch.openings.predict(batch.labels, false).cond);
        const { tokens, tied } = replay.run();
        if (tied === undefined || tied.item() === 0) return keep(tokens.clone());
        const { strategy, labels, seed, images, openings } = batch;
        const noise = philoxNoise(seed, images);
        return keep(generateTokens(model, { strategy, labels, noise, opening: openings?.of(labels) }));
      }),
    );
  }

  dispose(): void {
    this.replay.dispose();
    for (const owned of [this.labels, this.images, this.ranks, this.opening?.cond, this.opening?.uncond])
      owned?.dispose();
  }
}

/** Kept beyond the scope. */
function kept(prediction: SessionPrediction | undefined): SessionPrediction | undefined {
  if (prediction === undefined) return undefined;
  const { cond, uncond } = prediction;
  return { cond: keep(cond), uncond: uncond === undefined ? undefined : keep(uncond) };
}
