/** One training of a tokenizer on a set of pictures, for `fit` and `train-tokenizer`: run folder, loop, reconstructions. */

import { join } from 'node:path';
import { manualSeed, type Tensor } from '@tessera/torch';
import type { PictureSet } from '../data/picture-set.ts';
import type { Lpips } from '../tokenizers/lpips.ts';
import type { TokenizerFamilyName } from '../tokenizers/registry.ts';
import type { TrainingConfig } from '../training/config.ts';
import { trainLoop } from '../training/loop.ts';
import { Ranks } from '../training/ranks.ts';
import { openRunTogether } from '../training/run-folder.ts';
import { createVqTask, type VqRecipe } from '../training/vq-task.ts';
import { type PixelBlock, reconstructionPairs } from './decode-tokens.ts';
import type { PipelineEvent } from './events.ts';
import { tellSkipped } from './fit/images.ts';
import { writeTokenizerFolder } from './model-folder.ts';
import { savePicture } from './pictures.ts';
import { stopped, TrainingNarrator } from './training-events.ts';

export interface TokenizerTraining {
  /** Run folder; made, or resumed. */
  run: string;
  /** Tokenizer folder to write at the end: the averaged weights. */
  out: string;
  stage: string;
  family?: TokenizerFamilyName;
  config: Readonly<Record<string, unknown>>;
  recipe: VqRecipe;
  training: TrainingConfig;
  seed: number;
  train: PictureSet;
  /** May be empty: then nothing is measured, and training images are shown. */
  heldOut: PixelBlock;
  /** What tells data and first weights from others, for the check of a resumed run. */
  identity: Readonly<Record<string, unknown>>;
  init?: { tensors: ReadonlyMap<string, Tensor>; where: string } | undefined;
  lpips?: Lpips | undefined;
  /** The processes that train together; default: this one alone. */
  ranks?: Ranks | undefined;
  /** Each rank keeps the optimizers' states of a share of the weights alone. */
  shardOptimizer?: boolean | undefined;
  signal: AbortSignal | undefined;
}

/** Pictures shown above their reconstructions. */
const PAIRS = 32;

/** Trains to the end. Returns the last held-out measurement. */
export async function* trainTokenizer(
  options: TokenizerTraining,
): AsyncGenerator<PipelineEvent, Record<string, number> | undefined> {
  const {
    family = 'llamagen-vq',
    config,
    recipe,
    training,
    seed,
    train,
    heldOut,
    init,
    lpips,
    stage,
    ranks = new Ranks(),
    signal,
  } = options;
  const run = await openRunTogether(options.run, { family, config, recipe, training, ...options.identity }, ranks);
  let told = train.skipped.length;
  const narrator = new TrainingNarrator(stage, training.globalBatch);
  let measured: Record<string, number> | undefined;
  let task: ReturnType<typeof createVqTask> | undefined;
  try {
    const hasHeldOut = heldOut.pixels.length > 0;
    const shown = hasHeldOut ? heldOut : await train.block(PAIRS);
    manualSeed(seed);
    task = createVqTask({
      family,
      config,
      recipe,
      lpips,
      images: train,
      ...(hasHeldOut ? { heldOut: squares(heldOut) } : {}),
      ...(init === undefined ? {} : { init }),
    });
    const { shardOptimizer } = options;
    const how = { ranks, shardOptimizer, ...(signal === undefined ? {} : { signal }) };
    for await (const event of trainLoop(task, training, run, how)) {
      yield* narrator.tell(event);
      yield* tellSkipped(train, told);
      told = train.skipped.length;
      if (event.kind === 'evaluation') measured = event.metrics;
      if (event.kind === 'sample') {
        const path = join(event.folder, `step-${String(event.step).padStart(7, '0')}.png`);
        const pairs = reconstructionPairs(task.ema, shown, PAIRS);
        await savePicture(path, pairs, { columns: 16, scale: 2 });
        yield { kind: 'file', path, what: `${hasHeldOut ? 'held-out ' : ''}images above their reconstructions` };
      }
      if (event.kind === 'end') {
        if (!event.finished) throw stopped();
        if (ranks.isFirst) writeTokenizerFolder(options.out, task.ema);
      }
    }
    return measured;
  } finally {
    run.close();
    task?.dispose();
  }
}

function squares({ pixels, size }: PixelBlock): { pixels: Uint8Array; height: number; width: number } {
  return { pixels, height: size, width: size };
}
