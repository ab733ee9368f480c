/** The last stage of a fit: the model folder, samples with a grid and a reveal, the report. */

import { join } from 'node:path';
import { evenly } from '../../data/evenly.ts';
import type { GeneratorModel } from '../../models/family.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import type { PipelineEvent } from '../events.ts';
import { writeModelFolder } from '../model-folder.ts';
import { writeReport } from '../report.ts';
import { sampleModel } from '../sample.ts';
import { smallModelSampling } from '../small-model-sampling.ts';
import { modelCard } from './model-card.ts';
import { fitReport } from './report-content.ts';
import type { StageContext } from './tokenizer-stage.ts';

const SAMPLES_PER_CLASS = 8;
/** Of more classes these are enough to look at, taken evenly: thousands of images would take longer than the training. */
const SHOWN_CLASSES = 64;

export async function* finishStage(
  { out, plan, shippedSamples, signal }: StageContext,
  tokenizer: Tokenizer,
  model: GeneratorModel,
): AsyncGenerator<PipelineEvent, Record<string, unknown>> {
  yield { kind: 'stage', stage: 'finish', message: 'writing the model, samples and the report' };
  const path = join(out, 'model');
  const { imageSize, classes, seed } = plan;
  const content = { imageSize, model, tokenizer, strategy: smallModelSampling(model.generation), classes };
  writeModelFolder(path, { ...content, card: modelCard(plan, model, tokenizer) });
  yield { kind: 'file', path, what: 'the model' };

  const samples = join(out, 'samples');
  const open = { ...content, path, dispose: () => {} };
  const shown = shownClasses(classes);
  const options = {
    model: path,
    out: samples,
    classes: shown,
    perClass: SAMPLES_PER_CLASS,
    seed,
    reveal: true,
    signal,
  };
  for await (const event of sampleModel(open, options)) if (event.kind !== 'result') yield event;

  const report = join(out, 'report.html');
  const parameters = { tokenizer: tokenizer.numParameters, generator: model.numParameters };
  writeReport(report, fitReport({ out, plan, shown, parameters, shippedSamples }));
  yield { kind: 'file', path: report, what: 'the report' };
  return { model: path, samples, report };
}

export function shownClasses(classes: readonly string[]): string[] {
  return evenly(classes.length, SHOWN_CLASSES).map((label) => classes[label]!);
}
