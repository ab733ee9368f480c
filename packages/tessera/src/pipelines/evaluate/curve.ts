/** What a curve runs over: values of a sampling setting, or checkpoints of a run. */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PipelineError } from '../events.ts';
import { generatorRun } from './open-model.ts';
import type { SourceOptions } from './open-source.ts';

export const sweepSettings = ['guidanceScale', 'choiceTemperature', 'sampleTemperature', 'numSteps'] as const;

export interface Sweep {
  setting: (typeof sweepSettings)[number];
  values: readonly number[];
}

export type CurveOptions = Partial<SourceOptions>;

export interface Curve {
  /** For people: the x axis. */
  setting: string;
  points: { value: number; changes: CurveOptions }[];
}

export function sweepCurve({ setting, values }: Sweep): Curve {
  if (values.length === 0) throw new PipelineError('OPTIONS', `A sweep of ${setting} needs a value or more.`);
  return { setting, points: values.map((value) => ({ value, changes: { [setting]: value } })) };
}

/** Whole checkpoints of a run in the order of their steps; of `wanted`, each must be there. */
export function checkpointCurve(source: string | undefined, wanted: 'all' | readonly number[]): Curve {
  const run = source === undefined ? undefined : generatorRun(source);
  if (run === undefined) {
    throw new PipelineError(
      'OPTIONS',
      `--checkpoints is of a run: expected a folder with checkpoints/, got ${source}.`,
    );
  }
  const folder = join(run, 'checkpoints');
  const names = readdirSync(folder).filter(
    (name) => /^step-\d{7,}$/.test(name) && existsSync(join(folder, name, 'manifest.json')),
  );
  const there = names.map((name) => ({ value: Number(name.slice(5)), changes: { source: join(folder, name) } }));
  there.sort((a, b) => a.value - b.value);
  const points = wanted === 'all' ? there : there.filter(({ value }) => wanted.includes(value));
  const missing = wanted === 'all' ? undefined : wanted.find((step) => !there.some(({ value }) => value === step));
  if (missing === undefined && points.length > 0) return { setting: 'step', points };
  const known = there.map(({ value }) => value).join(', ') || 'none';
  throw new PipelineError('OPTIONS', `${run}: expected a checkpoint of step ${missing ?? '…'}; there are ${known}.`);
}
