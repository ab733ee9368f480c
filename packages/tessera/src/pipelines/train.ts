/** `tessera train`: an ENAT on a token data set, in a run folder that resumes. */

import { join, resolve } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { manualSeed } from '@tessera/torch';
import { TokenDataset } from '../data/token-dataset.ts';
import { Enat } from '../models/enat.ts';
import { type EnatPreset, enatPreset } from '../models/presets.ts';
import { initialise } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import { resolveTrainingConfig } from '../training/config.ts';
import { createEnatTask, enatTaskSchema } from '../training/enat-task.ts';
import { trainLoop } from '../training/loop.ts';
import { openRun } from '../training/run-folder.ts';
import { classGrid, smallModelStrategy } from './class-grid.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { stopped } from './fit/tokenizer-stage.ts';
import { openAnyTokenizer, writeModelFolder } from './model-folder.ts';
import { savePicture } from './pictures.ts';
import { TrainingNarrator } from './training-events.ts';

export interface TrainOptions {
  /** Token data set. */
  data: string;
  /** Token data set for measurements. */
  heldOut?: string | undefined;
  /** Run folder; made, or resumed. */
  out: string;
  model: EnatPreset;
  /** A model or tokenizer folder: samples are drawn along the way, and the run ends in a model folder. */
  tokenizer?: string | undefined;
  steps: number;
  globalBatch: number;
  learningRate: number;
  warmupSteps: number;
  seed: number;
  signal?: AbortSignal | undefined;
}

const SAMPLES_PER_CLASS = 4;

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
  const config = enatPreset(options.model, {
    gridSize: data.description.gridSize,
    codebookSize: data.codebookSize,
    numClasses: data.classes.length,
  });
  const task = parseConfig(enatTaskSchema, {}, 'the task');
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
  const run = openRun(resolve(options.out), { config, task, training, data: data.description.shards });
  manualSeed(seed);
  const model = initialise((p) => new Enat(config, p));
  const ema = loadModule((p) => new Enat(config, p), model.state, 'the network');
  model.trainable();
  yield { kind: 'stage', stage: 'train', message: `training ${options.model} on ${data.numRows} images` };
  const narrator = new TrainingNarrator('train', training.globalBatch);
  try {
    const enatTask = createEnatTask({ model, ema, data, heldOut, config: task });
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    for await (const event of trainLoop(enatTask, training, run, signal)) {
      yield* narrator.tell(event);
      if (event.kind === 'sample' && opened !== undefined) {
        const path = join(event.folder, `step-${String(event.step).padStart(7, '0')}.png`);
        const grid = classGrid({ model: ema, tokenizer: opened.tokenizer, perClass: SAMPLES_PER_CLASS, seed });
        await savePicture(path, grid, { columns: SAMPLES_PER_CLASS, scale: 2 });
        yield { kind: 'file', path, what: 'samples, a class a row' };
      }
      if (event.kind === 'end' && !event.finished) throw stopped();
    }
    const result: Record<string, unknown> = { run: run.path, steps };
    if (opened !== undefined) {
      const { tokenizer } = opened;
      const path = join(run.path, 'model');
      writeModelFolder(path, {
        imageSize: config.gridSize * tokenizer.downsampleFactor,
        model: ema,
        tokenizer,
        strategy: smallModelStrategy(),
        classes: data.classes,
        card: `# ${options.model}\n\nTrained with \`tessera train\` for ${steps} steps of ${globalBatch} images.\n`,
      });
      yield { kind: 'file', path, what: 'the model' };
      result.model = path;
    }
    yield { kind: 'result', result };
  } finally {
    run.close();
    for (const owned of [model, ema, data, heldOut, opened?.tokenizer]) owned?.dispose();
  }
}
