/** One training of a generator on tokens, for `fit` and `train`: run folder, loop, a grid of samples along the way. */

import { join } from 'node:path';
import { manualSeed } from '@tessera/torch';
import type { TokenRows } from '../data/token-dataset.ts';
import type { GeneratorConfig, GeneratorModel } from '../models/family.ts';
import { type FamilyName, familyOf } from '../models/registry.ts';
import { freshParameters, initialise, ParameterBuilder } from '../nn/module.ts';
import { loadModule } from '../nn/state-dict.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import type { TrainingConfig } from '../training/config.ts';
import { copyCheckpoint, missingCopy } from '../training/copy-checkpoint.ts';
import { createGeneratorTask } from '../training/generator-task.ts';
import { trainLoop } from '../training/loop.ts';
import { Ranks } from '../training/ranks.ts';
import { openRunTogether, type RunFolder } from '../training/run-folder.ts';
import { placeholderParameters, ShardedModule } from '../training/sharded-module.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { savePicture } from './pictures.ts';
import { stopped, TrainingNarrator } from './training-events.ts';
import { trainingGrid } from './training-grid.ts';

export interface GeneratorTraining {
  /** Run folder; made, or resumed. */
  run: string;
  stage: string;
  family: FamilyName;
  config: GeneratorConfig;
  /** The family's recipe. */
  task: object;
  training: TrainingConfig;
  data: TokenRows;
  heldOut: TokenRows | undefined;
  /** What tells this data from other data, for the check of a resumed run. */
  dataIdentity: unknown;
  /** Draws samples along the way; without one there are none. */
  tokenizer: Tokenizer | undefined;
  /** See GeneratorTaskOptions. */
  recompute?: boolean | undefined;
  /** Changes the fresh weights before the first step of a run that starts from nothing. */
  prepare?: ((model: GeneratorModel) => void) | undefined;
  /** What tells those weights from others, for the check of a resumed run. */
  startIdentity?: Readonly<Record<string, unknown>> | undefined;
  /** Each rank keeps the optimizer's state of a share of the weights alone. */
  shardOptimizer?: boolean | undefined;
  /** Each rank keeps a piece of every weight, average and moment alone; for families that say where their blocks are. */
  shardParameters?: boolean | undefined;
  /** A folder that gets a copy of every checkpoint. */
  alsoSaveTo?: string | undefined;
  /** The processes that train together; default: this one alone. */
  ranks?: Ranks | undefined;
  signal: AbortSignal | undefined;
}

/** Trains to the end and returns the averaged network, owned by the caller; with sharded parameters the first rank's alone is whole. */
export async function* trainGenerator(options: GeneratorTraining): AsyncGenerator<PipelineEvent, GeneratorModel> {
  const { config, task: recipe, training, data, heldOut, tokenizer, stage, ranks = new Ranks(), signal } = options;
  const { dataIdentity, startIdentity } = options;
  // Runs that start from nothing have no `start`, which JSON leaves out.
  const settings = { config, task: recipe, training, data: dataIdentity, start: startIdentity };
  const construct = (p: ParameterBuilder) => familyOf(options.family).construct(config, p);
  let model: GeneratorModel | undefined;
  let ema: GeneratorModel | undefined;
  let pieces: { model: ShardedModule; ema: ShardedModule } | undefined;
  let run: RunFolder | undefined;
  let finished = false;
  try {
    manualSeed(training.seed);
    if (options.shardParameters === true && ranks.group !== undefined) {
      const blockOf = blocksOf(options.family);
      let cut: ShardedModule;
      if (options.prepare === undefined) {
        cut = ShardedModule.construct(construct, freshParameters(), ranks.group, blockOf);
        model = cut.whole as GeneratorModel;
      } else {
        model = initialise(construct);
        options.prepare(model);
        ranks.copyFromFirst([...model.state.values()]);
        cut = ShardedModule.cut(model, ranks.group, blockOf);
      }
      ema = construct(new ParameterBuilder(placeholderParameters()));
      pieces = { model: cut, ema: cut.copyFor(ema, blockOf) };
      cut.trainable();
    } else {
      model = initialise(construct);
      options.prepare?.(model);
      ema = loadModule(construct, model.state, 'the network');
      model.trainable();
    }
    familyOf(options.family).checkRecipe?.(model, recipe);
    // Weights and stages that do not fit have been refused: they leave no folder that would refuse others.
    run = await openRunTogether(options.run, settings, ranks);
    const task = createGeneratorTask({
      model,
      ema,
      data,
      heldOut,
      recipe,
      recompute: options.recompute,
      precision: training.precision,
      pieces,
    });
    const narrator = new TrainingNarrator(stage, training.globalBatch);
    const { shardOptimizer } = options;
    const how = { ranks, shardOptimizer, ...(signal === undefined ? {} : { signal }) };
    for await (const event of trainLoop(task, training, run, how)) {
      yield* narrator.tell(event);
      if (event.kind === 'start' && event.resumed && options.alsoSaveTo !== undefined && ranks.isFirst) {
        // A kill may have come between a checkpoint and its copy.
        const { checkpoint } = run.latestCheckpoint();
        const copy = checkpoint && missingCopy(checkpoint.path, options.alsoSaveTo);
        if (copy !== undefined) yield { kind: 'file', path: copy, what: 'a copy of the checkpoint' };
      }
      if (event.kind === 'sample' && tokenizer !== undefined) {
        const path = join(event.folder, `step-${String(event.step).padStart(7, '0')}.png`);
        const { images, perClass } = trainingGrid(ema, tokenizer, training.seed);
        // Few classes: a class a row. Many: the classes one after the other, in a square.
        await savePicture(path, images, { scale: 2, ...(perClass > 2 ? { columns: perClass } : {}) });
        yield { kind: 'file', path, what: 'samples, class by class' };
      }
      if (event.kind === 'checkpoint' && options.alsoSaveTo !== undefined) {
        yield { kind: 'file', path: copyCheckpoint(event.path, options.alsoSaveTo), what: 'a copy of the checkpoint' };
      }
      if (event.kind === 'end') finished = event.finished;
    }
    if (!finished) throw stopped();
    pieces?.ema.assemble(ranks.isFirst);
    return ema;
  } finally {
    run?.close();
    pieces?.model.leaveModule();
    pieces?.ema.leaveModule();
    model?.dispose();
    if (!finished) ema?.dispose();
  }
}

function blocksOf(family: FamilyName): (parameter: string) => number | undefined {
  const { blockOf } = familyOf(family);
  if (blockOf !== undefined) return blockOf;
  throw new PipelineError(
    'OPTIONS',
    `--shard-parameters: expected a model of the family gpt, got one of ${family}: take --shard-optimizer, which every family has.`,
  );
}
