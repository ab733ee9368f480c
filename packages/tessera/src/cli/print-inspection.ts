/** Inspections as text for people: tables whose columns line up. Names from files are made harmless for a terminal. */

import type { PatchCosts } from '../models/family.ts';
import type {
  FileInspection,
  Inspection,
  ModelInspection,
  PresetInspection,
  RunInspection,
  TokenizerInspection,
  TokensInspection,
} from '../pipelines/inspect/inspection.ts';
import { printable } from './printable.ts';

const LONGEST_NAME = 120;

export function printInspection(found: Inspection): string {
  const lines = linesOf(found);
  return `${lines.join('\n')}\n`;
}

function linesOf(found: Inspection): string[] {
  switch (found.kind) {
    case 'preset':
      return presetLines(found);
    case 'file':
      return fileLines(found);
    case 'model':
      return modelLines(found);
    case 'tokenizer':
      return tokenizerLines(found);
    case 'run':
      return runLines(found);
    case 'tokens':
      return tokenLines(found);
    default:
      return found satisfies never;
  }
}

function presetLines(model: PresetInspection): string[] {
  const { numParameters, byteLength, cost, decoderMacs, patches } = model;
  const lines = [
    `${model.name}: ${model.family}, ${count(numParameters)} parameters`,
    ...table(Object.entries(model.config).map(([key, value]) => [key, JSON.stringify(value)])),
    '',
    `memory in float32: ${bytes(byteLength.weights)} of weights; training ${bytes(byteLength.training)} and the activations`,
  ];
  if (patches !== undefined) lines.push('', ...patchLines(patches));
  if (cost === undefined) return lines;
  const steps = cost.steps.map(({ masked, guided, reference, computed }, i) => [
    String(i + 1),
    String(masked),
    guided ? 'both' : 'one',
    giga(reference, 2),
    giga(computed, 2),
  ]);
  const heads = ['step', 'masked', 'branches', 'reference, one branch', 'here, all branches'];
  lines.push('', 'GMAC of an image, 1 MAC = 2 FLOPs', ...table([heads, ...steps], [true, true, false, true, true]));
  const totals = [['all steps', `${giga(cost.reference, 1)} (both branches)`, giga(cost.computed, 1)]];
  if (decoderMacs !== undefined) {
    totals.push(
      ['decoder', giga(decoderMacs, 1), giga(decoderMacs, 1)],
      ['image', giga(cost.reference + decoderMacs, 1), giga(cost.computed + decoderMacs, 1)],
    );
  }
  lines.push('', ...table([['', 'reference', 'here'], ...totals]));
  return lines;
}

function tokenizerLines(tokenizer: TokenizerInspection): string[] {
  const { family, numParameters, byteLength, pixelsPerToken, config } = tokenizer;
  return [
    `${printable(tokenizer.path)}: ${family}, ${count(numParameters)} parameters, ${bytes(byteLength)}`,
    `a token is ${pixelsPerToken}x${pixelsPerToken} pixels`,
    ...table(Object.entries(config).map(([key, value]) => [key, JSON.stringify(value)])),
  ];
}

function patchLines({ levels, schedules }: PatchCosts): string[] {
  const sides = levels.map(({ patchSide, positions, macs }) => [
    `${patchSide}x${patchSide} tokens`,
    String(positions),
    giga(macs, 1),
  ]);
  const lines = [
    'training: forward pass of an image, 1 MAC = 2 FLOPs',
    ...table([['patches', 'positions', 'GMAC'], ...sides], [false, true, true]),
  ];
  if (schedules.length === 0) return lines;
  const rows = schedules.map(({ patchLevel, epochRate, positions, macs }) => [
    `--patch-level ${patchLevel} --epoch-rate ${epochRate}`,
    thousandths(positions),
    thousandths(macs),
  ]);
  const heads = ['300 epochs in stages, of the cost of plain ones', 'positions', 'GMAC'];
  return [...lines, '', ...table([heads, ...rows], [false, true, true])];
}

/** Halves upwards, where toFixed decides by the last binary digit. */
function thousandths(share: number): string {
  return (Math.round(share * 1000) / 1000).toFixed(3);
}

function giga(macs: number, digits: number): string {
  return (macs / 1e9).toFixed(digits);
}

function fileLines({
  path,
  format,
  byteLength,
  tensors,
  values,
  moreValues,
  metadata,
  totals,
}: FileInspection): string[] {
  const lines = [`${safe(path)}: ${format}, ${bytes(byteLength)}`];
  const texts = Object.entries(metadata);
  if (texts.length > 0) lines.push('', 'metadata', ...table(texts.map(([key, value]) => [safe(key), safe(value)])));
  if (tensors.length > 0) {
    const rows = tensors.map((row) => [safe(row.name), row.dtype, `[${row.shape.join(', ')}]`, bytes(row.byteLength)]);
    lines.push('', ...table(rows, [false, false, false, true]));
  }
  if (values.length > 0) {
    lines.push('', 'values', ...table(values.map(({ name, value }) => [safe(name), safe(value)])));
    if (moreValues > 0) lines.push(`  … and ${count(moreValues)} more`);
  }
  const shown = tensors.length === totals.tensors ? '' : ` (${count(tensors.length)} shown)`;
  const what = totals.tensors === 1 ? 'tensor' : 'tensors';
  lines.push(
    '',
    `${count(totals.tensors)} ${what}${shown}, ${count(totals.elements)} numbers, ${bytes(totals.byteLength)}`,
  );
  return lines;
}

function modelLines(model: ModelInspection): string[] {
  const { numParameters, strategy, classes } = model;
  const config = (entries: Record<string, unknown>): string[] =>
    table(Object.entries(entries).map(([key, value]) => [key, JSON.stringify(value)]));
  const classList = `classes (${classes.length}): ${classes.map(safe).join(', ')}`;
  const head = [
    `${safe(model.path)}: model folder, ${model.family}, ${model.imageSize} px, ${bytes(model.byteLength)} of weights`,
    '',
    `model: ${count(numParameters.model)} numbers`,
    ...config(model.config),
    '',
    `tokenizer: ${count(numParameters.tokenizer)} numbers`,
    ...config(model.tokenizer),
    '',
  ];
  if (!('steps' in strategy)) return [...head, 'sampling: token by token', ...config(strategy), '', classList];
  const steps = strategy.steps.map((step, i) => [
    String(i + 1),
    String(step.maskedIn),
    String(step.newlyFixed),
    ...[step.sampleTemperature, step.choiceTemperature, step.guidanceScale].map((value) => value.toFixed(3)),
  ]);
  const heads = ['step', 'masked', 'fixed', 'sampleTemperature', 'choiceTemperature', 'guidanceScale'];
  return [
    ...head,
    `strategy: ${strategy.steps.length} steps, remasking by ${strategy.remask}`,
    ...table(
      [heads, ...steps],
      heads.map(() => true),
    ),
    '',
    classList,
  ];
}

function runLines({ path, checkpoints, lastMetrics, parts }: RunInspection): string[] {
  const lines = [`${safe(path)}: run folder`];
  if (parts.length > 0) lines.push(`parts: ${parts.map(safe).join(', ')}`);
  if (checkpoints.length > 0) lines.push(`checkpoints at steps ${checkpoints.join(', ')}`);
  for (const { step, kind, ...values } of lastMetrics) {
    lines.push('', `${safe(String(kind))}, step ${safe(String(step))}`);
    lines.push(...table(Object.entries(values).map(([name, value]) => [safe(name), number(value)])));
  }
  return lines;
}

function tokenLines(data: TokensInspection): string[] {
  const { gridSize, numRows, picturesPerImage, codebookSize, codesUsed } = data;
  const pictures = picturesPerImage === 1 ? '' : `, ${picturesPerImage} pictures each`;
  return [
    `${safe(data.path)}: token data set, ${bytes(data.byteLength)}`,
    `${count(numRows)} rows of ${gridSize}×${gridSize} tokens${pictures}; ${count(codesUsed)} of ${count(codebookSize)} codes occur`,
    '',
    ...table(
      data.classes.map(({ name, rows }, label) => [String(label), safe(name), count(rows)]),
      [true, false, true],
    ),
  ];
}

/** @param right which columns are aligned to the right; default: none */
function table(rows: readonly (readonly string[])[], right: readonly boolean[] = []): string[] {
  const widths = (rows[0] ?? []).map((_, column) => rows.reduce((most, row) => Math.max(most, row[column]!.length), 0));
  return rows.map((row) => {
    const cells = row.map((cell, column) =>
      right[column] === true ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

/** The ends of very long texts tell nobody anything. */
function safe(text: string): string {
  return printable(text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME)}…` : text);
}

function number(value: unknown): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(5))) : safe(JSON.stringify(value) ?? '');
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

/** In decimal units, as disks and downloads count. */
function bytes(value: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let amount = value;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit++;
  }
  return unit === 0
    ? `${value} ${value === 1 ? 'byte' : 'bytes'}`
    : `${amount.toFixed(amount < 10 ? 2 : 1)} ${units[unit]}`;
}
