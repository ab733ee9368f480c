/**
 * The last step of a job: all parts, in order, become the output. Whoever finishes its share last does it; images that
 * could not be read are left out and listed in `OUT.broken.jsonl`.
 */
import { existsSync, rmSync } from 'node:fs';
import type { ImageFolder } from '../../data/image-folder.ts';
import { variantsPerImage } from '../../data/variants.ts';
import { replaceFile } from '../../training/durable-file.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import { tokenWriter } from './layouts.ts';
import { PartLayout, readBroken, readPart } from './part-file.ts';
import { planHash, type WorkPlan } from './work-plan.ts';

export function partsOf(folder: string, plan: WorkPlan): PartLayout[] {
  return Array.from(
    { length: plan.numShares },
    (_, index) => new PartLayout(folder, plan, { index, count: plan.numShares }),
  );
}

export interface Merged {
  numImages: number;
  numBroken: number;
  /** Where broken images are listed. */
  report: string | undefined;
}

const EVENTS_EVERY = 4096;

export async function* mergeParts(
  parts: readonly PartLayout[],
  plan: WorkPlan,
  source: ImageFolder,
  out: string,
): AsyncGenerator<PipelineEvent, Merged> {
  const broken = parts.flatMap(({ brokenPath }) => readBroken(brokenPath));
  const numImages = plan.numImages - broken.length;
  if (numImages === 0) {
    const { path, reason } = broken[0]!;
    throw new PipelineError(
      'FOLDER_ALL_BROKEN',
      `None of ${plan.numImages} images can be read; first ${path}: ${reason}`,
    );
  }
  const { recipe, layout, gridSize, codebookSize } = plan;
  const writer = tokenWriter(out, layout, {
    numImages,
    picturesPerImage: variantsPerImage(recipe),
    gridSize,
    imageSize: recipe.size,
    codebookSize,
    classes: source.classes,
    madeFrom: planHash(plan),
    cropRanges: recipe.variants === 'ten-crop' ? recipe.cropRanges : undefined,
  });
  yield { kind: 'stage', stage: 'merge', message: `writing ${out}` };
  try {
    let done = 0;
    for (const part of parts) {
      for (const { index, tokens } of readPart(part)) {
        if (tokens !== undefined) writer.add(source.items[index]!.label, tokens);
        if (++done % EVENTS_EVERY === 0) {
          yield { kind: 'progress', stage: 'merge', done, total: plan.numImages, unit: 'images' };
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    }
    const report = `${out.replace(/\/+$/, '')}.broken.jsonl`;
    if (broken.length > 0) {
      replaceFile(report, broken.map(({ path, reason }) => `${JSON.stringify({ path, reason })}\n`).join(''));
    } else if (existsSync(report)) {
      rmSync(report);
    }
    writer.finish();
    return { numImages, numBroken: broken.length, report: broken.length > 0 ? report : undefined };
  } finally {
    writer.dispose();
  }
}
