/** Training the generator of a fit on its tokens, with a grid of samples by class along the way. */

import { join } from 'node:path';
import { manualSeed } from '@tessera/torch';
import { Enat } from '../../models/enat.ts';
import { initialise } from '../../nn/module.ts';
import { loadModule } from '../../nn/state-dict.ts';
import type { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import { resolveTrainingConfig } from '../../training/config.ts';
import { createEnatTask } from '../../training/enat-task.ts';
import { trainLoop } from '../../training/loop.ts';
import { openRun } from '../../training/run-folder.ts';
import { classGrid } from '../class-grid.ts';
import type { PipelineEvent } from '../events.ts';
import { savePicture } from '../pictures.ts';
import { TrainingNarrator } from '../training-events.ts';
import { type StageContext, stopped } from './tokenizer-stage.ts';
import type { FitTokens } from './tokens-stage.ts';

const STAGE = 'generator';
const SAMPLES_PER_CLASS = 8;

/** Trains to the end and returns the averaged network, owned by the caller. */
export async function* generatorStage(
  { out, plan, signal }: StageContext,
  tokenizer: LlamaGenVq,
  tokens: FitTokens,
): AsyncGenerator<PipelineEvent, Enat> {
  const { config, task: taskConfig } = plan.generator;
  const training = resolveTrainingConfig(plan.generator.training, 'the plan of the generator');
  yield { kind: 'stage', stage: STAGE, message: `training an ENAT on ${tokens.train.numRows} images` };
  const run = openRun(join(out, 'generator'), { config, task: taskConfig, training, data: plan.dataFingerprint });
  manualSeed(plan.seed);
  const model = initialise((p) => new Enat(config, p));
  const ema = loadModule((p) => new Enat(config, p), model.state, 'the network');
  model.trainable();
  const task = createEnatTask({ model, ema, data: tokens.train, heldOut: tokens.heldOut, config: taskConfig });
  const narrator = new TrainingNarrator(STAGE, training.globalBatch);
  let finished = false;
  try {
    for await (const event of trainLoop(task, training, run, signal === undefined ? {} : { signal })) {
      yield* narrator.tell(event);
      if (event.kind === 'sample') {
        const path = join(event.folder, `step-${String(event.step).padStart(7, '0')}.png`);
        const images = classGrid({ model: ema, tokenizer, perClass: SAMPLES_PER_CLASS, seed: plan.seed });
        await savePicture(path, images, { columns: SAMPLES_PER_CLASS, scale: 2 });
        yield { kind: 'file', path, what: 'samples, a class a row' };
      }
      if (event.kind === 'end') finished = event.finished;
    }
    if (!finished) throw stopped();
    return ema;
  } finally {
    run.close();
    model.dispose();
    if (!finished) ema.dispose();
  }
}
