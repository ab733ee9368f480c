/** AutoNAT's search on a synthetic objective: every evaluation, every base point, the phases and the CSV's columns. */

import {
  AskTell,
  basePointIndex,
  csvColumns,
  finiteDifference,
  fromPoint,
  LIST_NAMES,
  type ListName,
  type ScheduleLists,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import type { CaseContext, Runner } from '../runner.ts';

/** The names of the manifests. */
const MANIFEST: Record<ListName, string> = {
  ratios: 'remaskRatios',
  choiceTemperatures: 'remaskTemperatures',
  sampleTemperatures: 'samplingTemperatures',
  guidance: 'guidanceScales',
};

type Lists = Record<string, number[]>;
type Pair = { remaskRatios: number; others: number };
type Bounds = { remaskRatios: [number | null, number | null]; others: [number | null, number | null] };

export const searchTrajectory: Runner = (context) => {
  if (context.param<number>('dampening') !== 0) return undefined;
  const numSteps = context.param<number>('numSteps');
  const jsonNames = context.param('jsonNames') as Record<string, string>;
  const named = (lists: ScheduleLists): Record<string, number[]> =>
    Object.fromEntries(LIST_NAMES.map((name) => [jsonNames[MANIFEST[name]]!, lists[name]]));
  const step = context.param('probeStep') as Pair;
  const rate = context.param('lr') as Pair;
  const bounds = context.param('updateClamp') as Bounds;
  const probeBounds = context.param('probeClamp') as Bounds;
  const initial = context.param('initial') as Lists;
  const start = LIST_NAMES.flatMap((name) => initial[MANIFEST[name]]!);
  const search = new AskTell(
    finiteDifference(start, numSteps, {
      ratioRate: rate.remaskRatios,
      otherRate: rate.others,
      ratioStep: step.remaskRatios,
      otherStep: step.others,
      momentum: context.param<number>('momentum'),
      clip: context.optional<number | null>('gradientClip') ?? undefined,
      maxUpdates: context.param<number>('numUpdates'),
      ratioBounds: range(bounds.remaskRatios),
      otherBounds: range(bounds.others),
      ratioProbeBounds: range(probeBounds.remaskRatios),
      otherProbeBounds: range(probeBounds.others),
    }),
  );
  const key = String((context.golden.outputs.evaluations as { objectiveKey?: string }).objectiveKey);
  const evaluations: Json[] = [];
  const phases: string[] = [];
  const savedStrategies: Record<string, Json> = {};
  while (!search.isDone) {
    const values = search.ask().map(({ phase, point }) => {
      const lists = fromPoint(point, numSteps);
      const value = objective(context, point);
      evaluations.push({ [key]: value, ...named(lists) });
      phases.push(phase);
      if (basePointIndex(phase) !== undefined) savedStrategies[`${phase}.yaml`] = named(lists);
      return value;
    });
    search.tell(values);
  }
  return { evaluations, phases, savedStrategies, csvColumns: csvColumns(imagesOf(context)) } as Record<string, Output>;
};

/** base + Σ_k weights[k] · Σ (x_k − targets[k])² */
function objective(context: CaseContext, point: readonly number[]): number {
  const { base, targets, weights } = context.param('objective') as unknown as {
    base: number;
    targets: Lists;
    weights: Record<string, number>;
  };
  const lists = fromPoint(point, context.param<number>('numSteps'));
  return LIST_NAMES.reduce((sum, name) => {
    const target = targets[MANIFEST[name]]!;
    const distance = lists[name].reduce((total, x, i) => total + (x - target[i]!) ** 2, 0);
    return sum + weights[MANIFEST[name]]! * distance;
  }, base);
}

/** The case tells the images of an evaluation only in the name of the column: fidN. */
function imagesOf(context: CaseContext): number {
  const columns = (context.reader.value(context.golden.outputs.csvColumns!, context.golden) as { json: string[] }).json;
  return Number(columns.map((column) => /^fid(\d+)$/.exec(column)?.[1]).find((digits) => digits !== undefined));
}

function range([low, high]: [number | null, number | null]): [number, number] {
  return [low ?? Number.NEGATIVE_INFINITY, high ?? Number.POSITIVE_INFINITY];
}
