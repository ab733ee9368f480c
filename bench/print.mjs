// Prints measurements as the Markdown table that docs/benchmarks.md holds, or as JSON.

import { describeMachine } from './machine.mjs';

/**
 * @param {{json: boolean}} options
 * @param {{name: string, machine: object, rows: readonly import('./measure.mjs').Row[]}} report
 */
export function print({ json }, { name, machine, rows }) {
  if (json) {
    process.stdout.write(`${JSON.stringify({ bench: name, machine, rows }, undefined, 2)}\n`);
    return;
  }
  const withTorch = rows.some((row) => row.torch !== undefined);
  const header = ['what', 'unit', 'median', 'range', ...(withTorch ? ['PyTorch', 'range'] : [])];
  const cells = rows.map(({ name: what, unit, ours, torch }) => [
    what,
    unit,
    ...columns(ours),
    ...(withTorch ? (torch === undefined ? ['–', '–'] : columns(torch)) : []),
  ]);
  const widths = header.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  process.stdout.write(`${[describeMachine(machine), '', line(header), rule, ...cells.map(line)].join('\n')}\n`);
}

function columns({ median, low, high }) {
  return [digits(median), `${digits(low)}–${digits(high)}`];
}

/** Three significant digits, without an exponent. */
function digits(value) {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
