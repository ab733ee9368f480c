/** What a search leaves in its folder: the strategy in both formats, the original's files, and a page with curves. */

import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Provenance, Strategy } from '@tessera/schedule';
import { stringify as stringifyYaml } from 'yaml';
import { replaceWhole } from '../../data/whole-folder.ts';
import type { EvaluationRecord } from '../../search/ledger.ts';
import { basePointIndex, FINITE_DIFFERENCE_RATES } from '../../search/methods/finite-difference.ts';
import type { Parametrisation } from '../../search/parametrisation.ts';
import { bestOf, type SearchBudget, totals } from '../../search/run-search.ts';
import { searchCsv } from '../../search/search-csv.ts';
import { LIST_NAMES, OFFICIAL_NAMES, officialLists, type ScheduleLists, toPoint } from '../../search/variables.ts';
import type { Chart } from '../report/chart.ts';
import { writeReport } from '../report.ts';
import type { Confirmation } from './confirm.ts';
import { describeTerms } from './objective-terms.ts';
import type { SearchPlan } from './search-plan.ts';

export interface SearchResult {
  folder: string;
  plan: SearchPlan;
  parametrisation: Parametrisation;
  records: readonly EvaluationRecord[];
  confirmation: Confirmation | undefined;
  provenance: Provenance;
}

/** As `provenance` says it: "50000 images, 30 minutes". */
export function describeBudget(budget: SearchBudget): string {
  const parts = (['images', 'minutes', 'evaluations'] as const).flatMap((unit) =>
    budget[unit] === undefined ? [] : [`${budget[unit]} ${unit}`],
  );
  return parts.join(', ');
}

/** Writes all files anew, each whole; returns their paths by name. */
export function writeSearchFiles(result: SearchResult): Record<string, string> {
  const { folder, plan, parametrisation, records, provenance } = result;
  const best = bestOf(records)!;
  const files: Record<string, string> = { strategy: join(folder, 'strategy.yaml') };
  writeWhole(files.strategy!, stringifyYaml({ ...parametrisation.settings(best.point), provenance }));
  const lists = parametrisation.lists(best.point);
  if (lists !== undefined) {
    // The original's file says nothing of orders: it is read as choosing by confidence.
    if ((plan.start as Strategy).order === 'confidence') {
      files.official = join(folder, 'strategy.autonat.yaml');
      writeWhole(files.official, officialYaml(lists));
    }
    files.csv = join(folder, 'search.csv');
    writeWhole(files.csv, tableOf(result));
    writeBasePoints(result);
  }
  files.report = join(folder, 'report.html');
  writeReport(files.report, {
    title: `Search of ${plan.objective.model}`,
    summary: Object.entries(provenance).map(([name, value]) => [name, String(value)]),
    sections: [
      { heading: 'Best so far', charts: progressCharts(records) },
      ...(lists === undefined
        ? [settingsSection(result, best)]
        : [
            {
              heading: 'The schedule',
              charts: scheduleCharts(parametrisation.lists(parametrisation.space.start)!, lists),
            },
          ]),
      ...(result.confirmation === undefined ? [] : [confirmationSection(result.confirmation)]),
      { heading: 'Improvements', tables: [improvements(records)] },
    ],
  });
  return files;
}

/** As PyYAML writes the original's: one line a list. */
function officialYaml(lists: ScheduleLists): string {
  return stringifyYaml(officialLists(lists), { collectionStyle: 'flow', lineWidth: 0 })
    .replace(/^\{ /, '')
    .replace(/ \}\n$/, '\n')
    .replaceAll(/\], (?=\w)/g, ']\n');
}

function tableOf({ plan, parametrisation, records }: SearchResult): string {
  return searchCsv(
    [...records]
      .sort((a, b) => a.index - b.index)
      .map((record) => ({ ...record, point: toPoint(parametrisation.lists(record.point)!) })),
    {
      numSteps: plan.numSteps!,
      numImages: plan.numImages,
      rates: [plan.ratioRate ?? FINITE_DIFFERENCE_RATES.ratio, plan.otherRate ?? FINITE_DIFFERENCE_RATES.other],
    },
  );
}

function writeBasePoints({ folder, plan, parametrisation, records }: SearchResult): void {
  if (plan.method !== 'finite-difference') return;
  for (const { phase, point } of records) {
    if (basePointIndex(phase) === undefined) continue;
    writeWhole(join(folder, 'searched_strategies', `${phase}.yaml`), officialYaml(parametrisation.lists(point)!));
  }
}

export function progressCharts(records: readonly EvaluationRecord[]): Chart[] {
  let images = 0;
  let best = Number.POSITIVE_INFINITY;
  const values: [number, number][] = [];
  const bests: [number, number][] = [];
  for (const { numImages, share, value } of records) {
    images += numImages;
    if (share < 1) continue;
    best = Math.min(best, value);
    values.push([images, value]);
    bests.push([images, best]);
  }
  const axes = { xLabel: 'images drawn', yLabel: 'objective' };
  return [
    { title: 'Best so far', series: [{ name: 'best', points: bests }], ...axes },
    { title: 'Every whole evaluation', series: [{ name: 'value', points: values }], ...axes },
  ];
}

function scheduleCharts(start: ScheduleLists, best: ScheduleLists): Chart[] {
  return LIST_NAMES.map((name) => ({
    title: OFFICIAL_NAMES[name],
    series: [start, best].map((lists, i) => ({
      name: i === 0 ? 'start' : 'best',
      points: lists[name].map((value, step): [number, number] => [step + 1, value]),
    })),
    xLabel: 'step',
    yLabel: name,
  }));
}

function settingsSection({ parametrisation }: SearchResult, best: EvaluationRecord) {
  const { names, start } = parametrisation.space;
  const rows = names.map((name, i): [string, number, number] => [name, round(start[i]!), round(best.point[i]!)]);
  return { heading: 'The settings', tables: [{ header: ['setting', 'start', 'best'], rows }] };
}

export function confirmationSection({ start, best, difference }: Confirmation) {
  return {
    heading: 'On noise that the search did not see',
    paragraphs: [
      'Mean over blocks and the standard error of the mean. Differences are taken block by block; negative is better.',
    ],
    tables: [
      {
        header: ['settings', 'mean', 'standard error', 'blocks'],
        rows: [start, best, difference].map(({ name, mean, stdError, values }): [string, number, string, number] => [
          name,
          round(mean),
          Number.isNaN(stdError) ? 'one block' : String(round(stdError)),
          values.length,
        ]),
      },
    ],
  };
}

function improvements(records: readonly EvaluationRecord[]) {
  const rows: [number, string, number, number][] = [];
  let images = 0;
  let best = Number.POSITIVE_INFINITY;
  for (const { phase, numImages, share, value, index } of records) {
    images += numImages;
    if (share < 1 || value >= best) continue;
    best = value;
    rows.push([index, phase, images, round(value)]);
  }
  return { header: ['evaluation', 'phase', 'images so far', 'value'], rows };
}

/** What the result's `provenance` says. */
export function provenanceOf(
  plan: SearchPlan,
  budget: SearchBudget,
  records: readonly EvaluationRecord[],
  confirmation?: Confirmation,
): Provenance {
  const best = bestOf(records)!;
  const { images, evaluations } = totals(records);
  return {
    madeBy: 'tessera search',
    model: plan.objective.model,
    modelHash: plan.modelHash,
    method: plan.method,
    parametrisation: plan.parametrisation,
    objective: describeTerms(plan.objective.terms),
    ...(plan.objective.reference === undefined ? {} : { reference: plan.objective.reference }),
    seed: plan.objective.seed,
    budget: describeBudget(budget),
    numImages: plan.numImages,
    images,
    evaluations,
    value: best.value,
    evaluation: best.index,
    ...(confirmation === undefined
      ? {}
      : { heldOutValue: confirmation.best.mean, heldOutStart: confirmation.start.mean }),
  };
}

/** A whole file or none, in a folder that is made where there is none. */
export function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  replaceWhole(path, text);
}

export function round(value: number): number {
  return Number(value.toPrecision(6));
}
