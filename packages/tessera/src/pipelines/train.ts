/** `tessera train`: a generator on a token data set, in a run folder that resumes. */

import { join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { TokenDataset } from '../data/token-dataset.ts';
import type { GeneratorModel } from '../models/family.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import { familyOf } from '../models/registry.ts';
import { resolveTrainingConfig } from '../training/config.ts';
import { smallModelSampling } from './class-grid.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { openAnyTokenizer, writeModelFolder } from './model-folder.ts';
import { trainGenerator } from './train-generator.ts';

export interface TrainOptions {
  /** Token data set. */
  data: string;
  /** Token data set for measurements. */
  heldOut?: string | undefined;
  /** Run folder; made, or resumed. */
  out: string;
  model: ModelPreset;
  /** A model or tokenizer folder: samples are drawn along the way, and the run ends in a model folder. */
  tokenizer?: string | undefined;
  steps: number;
  globalBatch: number;
  learningRate: number;
  warmupSteps: number;
  seed: number;
  signal?: AbortSignal | undefined;
}

export async function* train(options: TrainOptions): AsyncGenerator<PipelineEvent> {
  const data = TokenDataset.open(options.data);
  const heldOut = options.heldOut === undefined ? undefined : TokenDataset.open(options.heldOut);
  const opened = options.tokenizer === undefined ? undefined : openAnyTokenizer(options.tokenizer);
  if (opened !== undefined && opened.tokenizer.codebookSize !== data.codebookSize) {
    const [had, got] = [data.codebookSize, opened.tokenizer.codebookSize];
    throw new PipelineError(
      'CODEBOOK',
      `${options.data} has ${had} codes, the tokenizer ${got}: they do not belong together.`,
    );
  }
  const { family, config } = modelPreset(options.model, {
    gridSize: data.description.gridSize,
    codebookSize: data.codebookSize,
    numClasses: data.classes.length,
  });
  const task = parseConfig(familyOf(family).recipe, {}, 'the recipe');
  const { steps, globalBatch, learningRate: base, warmupSteps, seed } = options;
  const training = resolveTrainingConfig({
    seed,
    globalBatch,
    totalSteps: steps,
    learningRate: { kind: 'constant', base, warmupSteps },
    betas: [0.99, 0.99],
    weightDecay: 0.03,
    sampleEvery: Math.max(1, Math.floor(steps / 10)),
    evaluateEvery: Math.max(1, Math.floor(steps / 10)),
    checkpointEvery: Math.max(1, Math.min(500, Math.floor(steps / 5))),
  });
  yield { kind: 'stage', stage: 'train', message: `training ${options.model} on ${data.numRows} images` };
  const run = resolve(options.out);
  let ema: GeneratorModel | undefined;
  try {
    ema = yield* trainGenerator({
      run,
      stage: 'train',
      family,
      config,
      task,
      training,
      data,
      heldOut,
      dataIdentity: data.description.shards,
      tokenizer: opened?.tokenizer,
      signal: options.signal,
    });
    const result: Record<string, unknown> = { run, steps };
    if (opened !== undefined) {
      const { tokenizer } = opened;
      const path = join(run, 'model');
      writeModelFolder(path, {
        imageSize: config.gridSize * tokenizer.downsampleFactor,
        model: ema,
        tokenizer,
        strategy: smallModelSampling(ema.generation),
        classes: data.classes,
        card: `# ${options.model}\n\nTrained with \`tessera train\` for ${steps} steps of ${globalBatch} images.\n`,
      });
      yield { kind: 'file', path, what: 'the model' };
      result.model = path;
    }
    yield { kind: 'result', result };
  } finally {
    for (const owned of [ema, data, heldOut, opened?.tokenizer]) owned?.dispose();
  }
}
