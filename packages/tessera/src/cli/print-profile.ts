/** A profile as a table for people: the operations that took longest, with their share of the time and their speed. */

import type { OperationTotals, ProfileSummary } from '@tessera/torch';
import { printable } from './printable.ts';

const SHOWN = 15;

/** @param path the trace file that was written */
export function printProfile({ milliseconds, operations, eventsLeftOut }: ProfileSummary, path: string): string {
  const inside = operations.reduce((sum, totals) => sum + totals.milliseconds, 0);
  const others = operations.slice(SHOWN);
  const rows = operations.slice(0, SHOWN).map((totals) => row(totals, milliseconds));
  if (others.length > 0) rows.push(row(sumOf(others), milliseconds));
  const between = Math.max(0, milliseconds - inside);
  rows.push(['between operations', '', seconds(between), share(between, milliseconds), '', '', '']);
  const table = [['operation', 'calls', 's', 'share', 'GB', 'GMACs', 'GFLOP/s'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((cells) => cells[column]!.length)));
  const lines = table.map(
    (cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd(), // biome-ignore format: one call
  );
  const cut = eventsLeftOut > 0 ? `, the last ${eventsLeftOut.toLocaleString('en-US')} operations left out` : '';
  return `${[...lines.map((line) => `  ${line}`), `trace: ${printable(path)}${cut}`].join('\n')}\n`;
}

function row({ name, calls, milliseconds, bytes, macs }: OperationTotals, whole: number): string[] {
  // A multiply-accumulate is two floating-point operations.
  const speed = macs > 0 && milliseconds > 0 ? ((2 * macs) / milliseconds / 1e6).toFixed(1) : '';
  return [
    name,
    calls.toLocaleString('en-US'),
    seconds(milliseconds),
    share(milliseconds, whole),
    (bytes / 1e9).toFixed(2),
    macs > 0 ? (macs / 1e9).toFixed(3) : '',
    speed,
  ];
}

function sumOf(all: readonly OperationTotals[]): OperationTotals {
  const sum = { name: `${all.length} others`, calls: 0, milliseconds: 0, bytes: 0, macs: 0 };
  for (const totals of all) {
    sum.calls += totals.calls;
    sum.milliseconds += totals.milliseconds;
    sum.bytes += totals.bytes;
    sum.macs += totals.macs;
  }
  return sum;
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(3);
}

function share(part: number, whole: number): string {
  return `${((100 * part) / Math.max(whole, 1e-9)).toFixed(1)} %`;
}
