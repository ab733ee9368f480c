/** The last stage of a fit: the model folder, a grid of samples, a reveal, the report. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Enat } from '../../models/enat.ts';
import type { LlamaGenVq } from '../../tokenizers/llamagen-vq.ts';
import { classGrid, smallModelStrategy } from '../class-grid.ts';
import type { PipelineEvent } from '../events.ts';
import { writeModelFolder } from '../model-folder.ts';
import { savePicture } from '../pictures.ts';
import { modelCard } from './model-card.ts';
import type { StageContext } from './tokenizer-stage.ts';

const SAMPLES_PER_CLASS = 8;

export async function* finishStage(
  { out, plan }: StageContext,
  tokenizer: LlamaGenVq,
  model: Enat,
): AsyncGenerator<PipelineEvent, Record<string, unknown>> {
  yield { kind: 'stage', stage: 'finish', message: 'writing the model, samples and the report' };
  const modelPath = join(out, 'model');
  const strategy = smallModelStrategy();
  writeModelFolder(modelPath, {
    imageSize: plan.imageSize,
    model,
    tokenizer,
    strategy,
    classes: plan.classes,
    card: modelCard(plan, model, tokenizer),
  });
  mkdirSync(join(out, 'samples'), { recursive: true });
  const grid = join(out, 'samples', 'grid.png');
  const images = classGrid({ model, tokenizer, perClass: SAMPLES_PER_CLASS, seed: plan.seed, strategy });
  await savePicture(grid, images, { columns: SAMPLES_PER_CLASS, scale: 2 });
  yield { kind: 'file', path: grid, what: 'samples, a class a row' };
  yield { kind: 'file', path: modelPath, what: 'the model' };
  return { model: modelPath, grid };
}
