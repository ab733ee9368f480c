/**
 * Measures a distribution of mask ratios: a short training with it, then images of the trained network under a fixed
 * schedule. Trainings are run folders under `inner/`, named by their distribution: one that a kill cut short goes on from
 * its last checkpoint, and a finished one is opened again instead of made again.
 */

import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SamplingSettings } from '@tessera/schedule';
import type { OpenedTokens } from '../../data/tokens/open-tokens.ts';
import type { FamilyName } from '../../models/registry.ts';
import type { EvaluationJob, EvaluationOutcome, Evaluators } from '../../search/run-search.ts';
import type { TrainingConfig } from '../../training/config.ts';
import { TrainingError } from '../../training/training-error.ts';
import type { PipelineEvent } from '../events.ts';
import { copyInitialWeights } from '../initial-weights.ts';
import { trainGenerator } from '../train-generator.ts';
import type { OpenObjective } from './open-objective.ts';

export interface MaskRatios {
  maskBeta: readonly [number, number];
}

export interface InnerTraining {
  /** Folder of the inner run folders. */
  folder: string;
  family: FamilyName;
  /** The family's recipe but for the mask ratios. */
  recipe: object;
  training: TrainingConfig;
  data: OpenedTokens;
  /** Blocks are run again in the backward pass. */
  recompute: boolean;
  /** Model folder to begin at; undefined: random weights. */
  initFrom: string | undefined;
}

/** One training after the other, each with all threads; owns nothing that it was given. */
export class TrainingEvaluators implements Evaluators<MaskRatios> {
  private readonly opened: OpenObjective;
  private readonly strategy: SamplingSettings;
  private readonly inner: InnerTraining;
  private readonly tell: (event: PipelineEvent) => void;
  private readonly signal: AbortSignal | undefined;
  private readonly began = performance.now();

  /**
   * @param opened its network gets the trained weights
   * @param tell hears the progress of the trainings
   */
  constructor(
    opened: OpenObjective,
    strategy: SamplingSettings,
    inner: InnerTraining,
    tell: (event: PipelineEvent) => void,
    signal?: AbortSignal,
  ) {
    this.opened = opened;
    this.strategy = strategy;
    this.inner = inner;
    this.tell = tell;
    this.signal = signal;
  }

  async *evaluate(next: () => EvaluationJob<MaskRatios> | undefined): AsyncGenerator<EvaluationOutcome> {
    for (let job = next(); job !== undefined; job = next()) {
      const start = performance.now();
      const { numImages, seedBlock, index, settings } = job;
      const at = { numImages, seedBlock, signal: this.signal };
      // Where the start diverges, so will others: its error says what to do.
      const value = (await this.diverges(settings, index === 0))
        ? { value: Number.NaN }
        : await this.opened.objective.evaluate(this.strategy, at);
      const end = performance.now();
      yield { index, ...value, seconds: (end - start) / 1000, elapsedSeconds: (end - this.began) / 1000 };
    }
  }

  /** Trains; whether the loss or a gradient was no number. */
  private async diverges(settings: MaskRatios, isStart: boolean): Promise<boolean> {
    try {
      await this.train(settings);
      return false;
    } catch (error) {
      if (isStart || !(error instanceof TrainingError) || error.code !== 'NOT_FINITE') throw error;
      return true;
    }
  }

  /** Puts the weights trained with these mask ratios, averaged, into the objective's network. */
  async train({ maskBeta }: MaskRatios): Promise<void> {
    const { family, recipe, training, data, recompute, initFrom } = this.inner;
    const network = this.opened.folder.model;
    const running = trainGenerator({
      run: this.folderOf({ maskBeta }),
      stage: 'inner',
      family,
      config: network.config,
      task: { ...recipe, maskDistribution: 'beta', maskBeta },
      training,
      data,
      heldOut: undefined,
      dataIdentity: data.identity,
      tokenizer: undefined,
      recompute,
      prepare: (model) => {
        if (initFrom !== undefined) copyInitialWeights(model, initFrom, []);
      },
      signal: this.signal,
    });
    let step = await running.next();
    for (; step.done !== true; step = await running.next()) if (step.value.kind === 'progress') this.tell(step.value);
    network.copyFrom(step.value);
    step.value.dispose();
    this.opened.objective.weightsChanged?.();
  }

  /** Removes all trainings but these; made again, they would be the same. */
  keepOnly(kept: readonly MaskRatios[]): void {
    const { folder } = this.inner;
    const names = new Set(kept.map((settings) => this.folderOf(settings)));
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder)) {
      if (!names.has(join(folder, name))) rmSync(join(folder, name), { recursive: true, force: true });
    }
  }

  dispose(): void {}

  private folderOf({ maskBeta }: MaskRatios): string {
    return join(this.inner.folder, `beta-${maskBeta.join('-')}`);
  }
}
