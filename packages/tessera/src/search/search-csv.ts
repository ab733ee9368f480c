/** The table of evaluations as the released AutoNAT search keeps it: a line an evaluation, lists as Python writes tuples. */

import { fromPoint, LIST_NAMES, OFFICIAL_NAMES } from './variables.ts';

export interface CsvEvaluation {
  phase: string;
  /** [4T − 2]. */
  point: readonly number[];
  value: number;
}

export interface CsvSettings {
  numSteps: number;
  /** Images of a whole evaluation, in the name of the column: fid50000. */
  numImages: number;
  /** Learning rates of the ratios and of the others. */
  rates: readonly [number, number];
}

export function csvColumns(numImages: number): string[] {
  return ['phase', ...LIST_NAMES.map((name) => OFFICIAL_NAMES[name]), `fid${numImages}`, 'lr', 'iter'];
}

export function searchCsv(evaluations: readonly CsvEvaluation[], settings: CsvSettings): string {
  const rows = evaluations.map(({ phase, point, value }) => {
    const lists = fromPoint(point, settings.numSteps);
    // Probes of base point n count as iteration n.
    const iteration = /stp_(\d+)$/.exec(phase)?.[1] ?? '';
    return [phase, ...LIST_NAMES.map((name) => tuple(lists[name])), String(value), tuple(settings.rates), iteration];
  });
  return `${[csvColumns(settings.numImages), ...rows].map((row) => row.map(quoted).join(',')).join('\n')}\n`;
}

/** Lists of one value are plain numbers in the original. */
function tuple(values: readonly number[]): string {
  return values.length === 1 ? String(values[0]) : `(${values.join(', ')})`;
}

function quoted(text: string): string {
  return text.includes(',') ? `"${text}"` : text;
}
