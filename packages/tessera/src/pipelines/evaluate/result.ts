/** What an evaluation found, as a file, and as rows of a table. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseConfig } from '@tessera/schedule';
import { z } from 'zod';
import { PipelineError } from '../events.ts';
import type { Measurement, MetricValue } from './measure.ts';
import type { Protocol, ProtocolName } from './protocols.ts';

/** What was asked for, so that another evaluation does not take a result's place. */
export type EvaluationRequest = Record<'protocol' | 'reference' | 'curve' | 'source', string>;

/** What `result.json` holds. */
export interface EvaluationResult extends Measurement {
  formatVersion: 1;
  request?: EvaluationRequest;
  protocol: ProtocolName;
  /** All that the protocol fixes. */
  settings: Protocol;
  extractor: { name: string; sha256: string; dim: number };
  source: {
    path: string;
    kind: string;
    numImages: number;
    fingerprint: string;
    /** As it was named. */
    tokenizer?: string;
    strategy?: unknown;
    seed?: number;
  };
  reference: { path: string; kind: string; sha256: string; numImages?: number };
  /** A curve: the metrics by value; `metrics` are those of the best Fréchet distance. */
  sweep?: { setting: string; points: { value: number; metrics: Record<string, MetricValue> }[]; best: number };
}

const metricSchema = z.object({
  value: z.number(),
  low: z.number().optional(),
  high: z.number().optional(),
  note: z.string().optional(),
});
const metricsSchema = z.record(z.string(), metricSchema);
const resultSchema = z.looseObject({
  formatVersion: z.literal(1),
  request: z.record(z.string(), z.string()).optional(),
  protocol: z.string(),
  extractor: z.looseObject({ name: z.string(), sha256: z.string() }),
  source: z.looseObject({ path: z.string(), kind: z.string(), numImages: z.number() }),
  reference: z.looseObject({ path: z.string(), sha256: z.string() }),
  metrics: metricsSchema,
  sweep: z
    .object({
      setting: z.string(),
      points: z.array(z.object({ value: z.number(), metrics: metricsSchema })).min(1),
      best: z.number(),
    })
    .optional(),
});

export interface StoredResult {
  /** As it was given. */
  path: string;
  result: EvaluationResult;
  /** Its grid of samples, where it is there. */
  samples: Uint8Array | undefined;
}

/** A result by its file or its folder. */
export function readResult(path: string): StoredResult {
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'result.json') : path;
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new PipelineError('RESULT', `${file}: expected the result.json of an evaluation; ${reason}.`, {
      cause: error,
    });
  }
  const result = parseConfig(resultSchema, content, file) as unknown as EvaluationResult;
  const samples = join(dirname(file), 'samples.png');
  return { path, result, samples: existsSync(samples) ? readFileSync(samples) : undefined };
}

/** Refuses a folder with the result of another evaluation. */
export function refuseOtherResult(out: string, request: EvaluationRequest): void {
  if (!existsSync(join(out, 'result.json'))) return;
  const { result } = readResult(out);
  const { request: there } = result; // absent in results of before it was kept
  const names = Object.keys(request) as (keyof EvaluationRequest)[];
  const differing = there === undefined ? [] : names.filter((name) => there[name] !== request[name]);
  if (differing.length === 0) return;
  throw new PipelineError(
    'OPTIONS',
    `${out} holds the result of another evaluation (of ${result.source.path}; ${differing.join(' and ')} differ): take another --out; --features ${join(out, 'features')} goes on from what was computed there.`,
  );
}

/** Markdown: a result a row; and where the first one is a curve, a point a row. */
export function markdownTables(results: readonly EvaluationResult[]): string {
  const names = metricNames(results);
  const cells = (metrics: Record<string, MetricValue>): string[] =>
    names.map((name) => (metrics[name] === undefined ? '' : withInterval(metrics[name])));
  const rows = results.map(({ source, protocol, reference, metrics }) => [
    source.path,
    protocol,
    String(source.numImages),
    reference.sha256.slice(0, 16),
    ...cells(metrics),
  ]);
  const all = table(['what', 'protocol', 'images', 'reference', ...names], rows);
  const sweep = results[0]?.sweep;
  if (sweep === undefined) return all;
  const points = sweep.points.map(({ value, metrics }) => [String(value), ...cells(metrics)]);
  return `${all}\n${table([sweep.setting, ...names], points)}`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
  return `${[line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}

/** Of all results, in the order of their first appearance. */
export function metricNames(results: readonly EvaluationResult[]): string[] {
  return [...new Set(results.flatMap(({ metrics }) => Object.keys(metrics)))];
}

export function withInterval(metric: MetricValue): string {
  const range = interval(metric);
  return range === '' ? shown(metric.value) : `${shown(metric.value)} (${range})`;
}

export function interval({ low, high }: MetricValue): string {
  return low === undefined || high === undefined ? '' : `${shown(low)} to ${shown(high)}`;
}

export function shown(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
}
