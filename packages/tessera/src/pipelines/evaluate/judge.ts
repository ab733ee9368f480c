/**
 * The class judge of an evaluation: trained once on the features of a reference folder with classes, kept beside them
 * (WORK/judge-{key}.safetensors), and asked about samples whose class is known.
 */

import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { keep, loadSafetensors, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { temporaryOfMany } from '../../data/whole-folder.ts';
import { ClassJudge, type JudgeQuality, trainClassJudge } from '../../metrics/class-judge.ts';
import { PipelineError } from '../events.ts';
import type { FeatureStore } from './feature-store.ts';
import type { ImageSet } from './image-set.ts';

export interface OpenJudge {
  judge: ClassJudge;
  classes: readonly string[];
}

export interface Judgement {
  /** Share of the samples that look like the class they are of. */
  accuracy: number;
  quality: JudgeQuality;
  /** Worst first; with the share of held-out reference images of the class that the judge tells, where there are any. */
  byClass: { name: string; right: number; count: number; heldOut?: number }[];
}

/** Names without meaning, which stand where nothing names the classes. */
const PLACEHOLDER = /^class \d+$/;

/** Refuses what the judge could not say anything about, before hours of work. */
export function checkJudge(images: ImageSet, reference: ImageSet | undefined, where: string): void {
  const refuse = (problem: string): never => {
    throw new PipelineError('JUDGE', `--judge: ${problem}.`);
  };
  if (reference?.classes === undefined) refuse(`${where} has no class folders, so no classifier can be trained on it`);
  if (images.labels === undefined) refuse(`the classes of ${images.path} are not known`);
  const [own, known] = [images.classes!, reference!.classes!];
  const nameless = own.every((name) => PLACEHOLDER.test(name)) && own.length === known.length;
  const missing = nameless ? undefined : own.find((name) => !known.includes(name));
  if (missing !== undefined) refuse(`"${missing}" is a class of ${images.path} and none of ${where}`);
}

/** The judge of a reference: the one kept there, or a new one. Owned by the caller. */
export function openJudge(work: string, reference: ImageSet, features: FeatureStore): OpenJudge {
  const classes = reference.classes!;
  const path = join(work, `judge-1-${features.key.slice(0, 16)}.safetensors`);
  if (existsSync(path)) {
    const { tensors, metadata } = loadSafetensors(path);
    const quality = JSON.parse(metadata.quality!) as JudgeQuality;
    return { judge: new ClassJudge(keep(tensors.get('weight')!), keep(tensors.get('bias')!), quality), classes };
  }
  const judge = scope(() => trainClassJudge(features.pool(), reference.labels!, classes.length));
  const entries: [string, Tensor][] = [
    ['weight', judge.weight],
    ['bias', judge.bias],
  ];
  const temporary = temporaryOfMany(path);
  saveSafetensors(temporary, entries, { quality: JSON.stringify(judge.quality) });
  renameSync(temporary, path);
  return { judge, classes };
}

/** pool — [N, D] features of the images. */
export function judgeSamples({ judge, classes }: OpenJudge, pool: Tensor, images: ImageSet): Judgement {
  const names = images.classes!.map((name, label) => (PLACEHOLDER.test(name) ? classes[label]! : name));
  const seen = judge.labelsOf(pool);
  const counts = new Map<string, { right: number; count: number }>();
  let right = 0;
  for (const [i, label] of images.labels!.entries()) {
    const name = names[label]!;
    const of = counts.get(name) ?? { right: 0, count: 0 };
    counts.set(name, of);
    of.count += 1;
    if (classes[seen[i]!] !== name) continue;
    of.right += 1;
    right += 1;
  }
  const byClass = [...counts].map(([name, of]) => {
    const theirs = judge.quality.byClass[classes.indexOf(name)];
    return {
      name,
      ...of,
      ...(theirs === undefined || theirs.count === 0 ? {} : { heldOut: theirs.right / theirs.count }),
    };
  });
  byClass.sort((a, b) => a.right / a.count - b.right / b.count);
  return { accuracy: right / seen.length, quality: judge.quality, byClass };
}
