/**
 * `tessera evaluate`: the numbers of a protocol for a model, a folder of images, an archive or tokens against a reference.
 *
 *   OUT/result.json   protocol, extractor and reference with their hashes, metrics with intervals, warnings
 *   OUT/result.md     the same as a table
 *   OUT/report.html   tables, samples, nearest reference pictures, curves of a sweep
 *   OUT/features/     blocks of features: the same command goes on from them (feature-store.ts)
 *
 * A sweep measures a model once for each value of a setting. Several processes (RANK, WORLD_SIZE) share the blocks; the
 * ones that find blocks of others missing end without a result, and running the command again gives it.
 */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { StrategyChoice } from './choose-strategy.ts';
import { type EvaluationExtractor, openExtractor } from './evaluate/extractor.ts';
import { FeatureStore } from './evaluate/feature-store.ts';
import { type MetricValue, measure } from './evaluate/measure.ts';
import { openSource, type Source, type SourceOptions } from './evaluate/open-source.ts';
import { PROTOCOLS, type Protocol, type ProtocolName } from './evaluate/protocols.ts';
import { openReference, type Reference } from './evaluate/reference.ts';
import { evaluationReport, markdownTable, reportPictures } from './evaluate/report-content.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { writeReport } from './report.ts';

export interface EvaluateOptions extends Omit<SourceOptions, 'protocol'> {
  reference: string;
  /** Default: `fid`. */
  protocol?: ProtocolName | undefined;
  /** Inception's weights. */
  inception?: string | undefined;
  /** Default: `evaluations/NAME-PROTOCOL`. */
  out?: string | undefined;
  /** A setting of sampling and its values. */
  sweep?: Sweep | undefined;
  /** Results of other evaluations, to stand beside this one in the report. */
  compare?: readonly string[] | undefined;
}

export const sweepSettings = ['guidanceScale', 'choiceTemperature', 'sampleTemperature', 'numSteps'] as const;

export interface Sweep {
  setting: (typeof sweepSettings)[number];
  values: readonly number[];
}

/** What `result.json` holds. */
export interface EvaluationResult {
  formatVersion: 1;
  protocol: ProtocolName;
  extractor: { name: string; sha256: string; dim: number };
  source: { path: string; kind: string; numImages: number; fingerprint: string; strategy?: unknown; seed?: number };
  reference: { path: string; kind: string; sha256: string; numImages?: number };
  metrics: Record<string, MetricValue>;
  warnings: string[];
  /** A sweep: the metrics by value; `metrics` are those of the best Fréchet distance. */
  sweep?: { setting: string; points: { value: number; metrics: Record<string, MetricValue> }[]; best: number };
}

export async function* evaluate(options: EvaluateOptions): AsyncGenerator<PipelineEvent> {
  const protocol = PROTOCOLS[options.protocol ?? 'fid'];
  const { signal, size } = options;
  const out = options.out ?? join('evaluations', `${basename(resolve(options.source))}-${protocol.name}`);
  const extractor = openExtractor(protocol, options.inception);
  let reference: Reference | undefined;
  try {
    reference = await openReference(options.reference, protocol, extractor, { size, signal });
    mkdirSync(out, { recursive: true });
    const run: Run = { protocol, extractor, reference, work: join(out, 'features'), signal, ...processOf(process.env) };
    const message = `${protocol.name}: ${protocol.what}`;
    yield { kind: 'stage', stage: 'evaluate', message };
    const compared = yield* featuresOfReference(run);
    const result = yield* options.sweep === undefined
      ? evaluateOne(run, options, compared, {})
      : evaluateSweep(run, options, compared, options.sweep);
    if (result === undefined) {
      yield { kind: 'note', message: "other processes' features are not all there yet: run this again for the result" };
      yield { kind: 'result', result: { out, complete: false } };
      return;
    }
    for (const message of result.warnings) yield { kind: 'warning', message };
    writeWhole(join(out, 'result.json'), `${JSON.stringify(result, undefined, 2)}\n`);
    writeWhole(join(out, 'result.md'), markdownTable([result]));
    const source = await openSource({ ...options, ...best(options, result), protocol });
    try {
      const pictures = await reportPictures(source.images, run, compared);
      writeReport(join(out, 'report.html'), evaluationReport(result, options.compare ?? [], pictures));
    } finally {
      source.dispose();
    }
    yield { kind: 'file', path: join(out, 'report.html'), what: 'tables and pictures' };
    yield { kind: 'result', result: { out, complete: true, ...result } };
  } finally {
    reference?.images?.dispose();
    extractor.dispose();
  }
}

export interface Run {
  protocol: Protocol;
  extractor: EvaluationExtractor;
  reference: Reference;
  work: string;
  rank: number;
  world: number;
  signal: AbortSignal | undefined;
}

/** undefined where the reference is statistics alone, or nothing needs its pictures. */
async function* featuresOfReference(run: Run): AsyncGenerator<PipelineEvent, FeatureStore | undefined> {
  const { images } = run.reference;
  if (images === undefined) return undefined;
  const store = new FeatureStore(run.work, images, run.extractor, run.protocol);
  yield { kind: 'stage', stage: 'reference', message: `${images.count} pictures of ${images.path}` };
  yield* store.fill(images, run.extractor, { stage: 'reference', ...run });
  return store;
}

async function* evaluateOne(
  run: Run,
  options: EvaluateOptions,
  referenceFeatures: FeatureStore | undefined,
  changes: StrategyChoice,
): AsyncGenerator<PipelineEvent, EvaluationResult | undefined> {
  const { protocol, extractor, reference } = run;
  const source: Source = await openSource({ ...options, ...changes, protocol });
  try {
    const { images, strategy } = source;
    const samples = new FeatureStore(run.work, images, extractor, protocol);
    yield { kind: 'stage', stage: 'samples', message: `${images.count} pictures of ${images.path}` };
    yield* samples.fill(images, extractor, { stage: 'samples', ...run });
    if (!samples.isComplete || referenceFeatures?.isComplete === false) return undefined;
    const seed = options.seed ?? 0;
    const { metrics, warnings } = measure({ protocol, extractor, samples, reference, referenceFeatures, seed });
    return {
      formatVersion: 1,
      protocol: protocol.name,
      extractor: { name: extractor.name, sha256: extractor.sha256, dim: extractor.dim },
      source: {
        path: options.source,
        kind: images.kind,
        numImages: images.count,
        fingerprint: images.fingerprint,
        ...(strategy === undefined ? {} : { strategy, seed }),
      },
      reference: {
        path: reference.path,
        kind: reference.kind,
        sha256: reference.sha256,
        ...(referenceFeatures === undefined ? {} : { numImages: referenceFeatures.count }),
      },
      metrics,
      warnings,
    };
  } finally {
    source.dispose();
  }
}

async function* evaluateSweep(
  run: Run,
  options: EvaluateOptions,
  compared: FeatureStore | undefined,
  { setting, values }: Sweep,
): AsyncGenerator<PipelineEvent, EvaluationResult | undefined> {
  if (values.length === 0) throw new PipelineError('OPTIONS', `A sweep of ${setting} needs a value or more.`);
  const results: EvaluationResult[] = [];
  for (const value of values) {
    yield { kind: 'note', message: `${setting} ${value}` };
    const result = yield* evaluateOne(run, options, compared, { [setting]: value });
    if (result !== undefined) results.push(result);
  }
  if (results.length < values.length) return undefined;
  const distance = ({ metrics }: EvaluationResult): number => metrics[run.protocol.distance]!.value;
  const best = results.reduce((a, result, i) => (distance(result) < distance(results[a]!) ? i : a), 0);
  const points = results.map(({ metrics }, i) => ({ value: values[i]!, metrics }));
  return { ...results[best]!, sweep: { setting, points, best: values[best]! } };
}

/** The setting of a sweep's best point, for the pictures of the report. */
function best({ sweep }: EvaluateOptions, result: EvaluationResult): StrategyChoice {
  return sweep === undefined || result.sweep === undefined ? {} : { [sweep.setting]: result.sweep.best };
}

/** Which of several processes this is, by torchrun's environment. */
function processOf(env: NodeJS.ProcessEnv): { rank: number; world: number } {
  const [rank, world] = [Number(env.RANK ?? 0), Number(env.WORLD_SIZE ?? 1)];
  if (!Number.isInteger(rank) || !Number.isInteger(world) || rank < 0 || rank >= world) {
    throw new PipelineError('OPTIONS', `Expected RANK below WORLD_SIZE, got ${env.RANK} and ${env.WORLD_SIZE}.`);
  }
  return { rank, world };
}

function writeWhole(path: string, text: string): void {
  const temporary = `${path}.writing-${process.pid}`; // two processes may find everything there at once
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}
