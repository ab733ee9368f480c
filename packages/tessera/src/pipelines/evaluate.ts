/**
 * `tessera evaluate`: the numbers of a protocol for a model, a run, a folder of images, an archive or tokens against a
 * reference; or of a tokenizer that gives pictures back.
 *
 *   OUT/result.json   protocol, extractor and reference with their hashes, metrics with intervals, warnings
 *   OUT/result.md     the same as a table, with the results that it was compared with
 *   OUT/report.html   tables, samples by class, nearest reference pictures, curves
 *   OUT/samples.png   the samples of the report, for reports that compare with this result
 *   OUT/features/     blocks of features: the same command goes on from them (feature-store.ts)
 *
 * A curve measures once for each value of a setting, or for each checkpoint of a run. Processes share the blocks
 * (evaluate/processes.ts); one of them measures.
 */

import { mkdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { replaceWhole } from '../data/whole-folder.ts';
import { type Curve, type CurveOptions, checkpointCurve, type Sweep, sweepCurve } from './evaluate/curve.ts';
import { type EvaluationExtractor, openExtractor } from './evaluate/extractor.ts';
import { FeatureStore } from './evaluate/feature-store.ts';
import type { ImageSet } from './evaluate/image-set.ts';
import { checkJudge, type OpenJudge, openJudge } from './evaluate/judge.ts';
import { type Measurement, measure } from './evaluate/measure.ts';
import {
  checkSource,
  checkStrategies,
  MODEL_OPTIONS,
  openSource,
  type Source,
  type SourceOptions,
} from './evaluate/open-source.ts';
import { amongProcesses, ONE_PROCESS, type Processes } from './evaluate/processes.ts';
import { PROTOCOLS, type Protocol, type ProtocolName } from './evaluate/protocols.ts';
import { openReference, openUnseen, type Reference, sizesDiffer } from './evaluate/reference.ts';
import { evaluationReport } from './evaluate/report-content.ts';
import { reportPictures } from './evaluate/report-pictures.ts';
import {
  type EvaluationRequest,
  type EvaluationResult,
  markdownTables,
  readResult,
  refuseOtherResult,
} from './evaluate/result.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { flagName, kebabCase } from './flag-name.ts';
import { writeReport } from './report.ts';

export type { Sweep } from './evaluate/curve.ts';
export type { EvaluationResult } from './evaluate/result.ts';

export interface EvaluateOptions extends Omit<SourceOptions, 'protocol'> {
  /** Default, of a reconstruction alone: the pictures themselves. */
  reference?: string | undefined;
  /** Default: `fid`. */
  protocol?: ProtocolName | undefined;
  /** Inception's weights. */
  inception?: string | undefined;
  /** Default: `evaluations/NAME-PROTOCOL`. */
  out?: string | undefined;
  /** Where features are kept; evaluations that share it compute those of a reference once. Default: `OUT/features`. */
  features?: string | undefined;
  /** Pictures at a time, up to 128. Default: by their size and the network. */
  batch?: number | undefined;
  /** A setting of sampling and its values. */
  sweep?: Sweep | undefined;
  /** Of a run: `all`, or numbers of steps. */
  checkpoints?: 'all' | readonly number[] | undefined;
  /** Also the accuracy of samples under a classifier trained on the reference. */
  judge?: boolean | undefined;
  /** Pictures of the same kind that were not trained on, for the check of memorisation. */
  heldOut?: string | undefined;
  /** Of each interval by bootstrap; 0: no such intervals. Default: as many as are affordable. */
  resamples?: number | undefined;
  /** Results of other evaluations, to stand beside this one in the report: files, or their folders. */
  compare?: readonly string[] | undefined;
}

export async function* evaluate(options: EvaluateOptions): AsyncGenerator<PipelineEvent> {
  yield* amongProcesses((processes) => evaluateShared(options, processes));
}

interface Run {
  protocol: Protocol;
  extractor: EvaluationExtractor;
  reference: Reference;
  /** Where the features are. */
  work: string;
  processes: Processes;
  batch: number | undefined;
  signal: AbortSignal | undefined;
  /** Opens what is measured; owned by the caller. */
  open(changes: CurveOptions): Promise<Source>;
}

/** What all points of a curve are compared with. */
interface Compared {
  /** undefined where the reference is statistics alone. */
  features: FeatureStore | undefined;
  heldOut: FeatureStore | undefined;
  judge: OpenJudge | undefined;
}

async function* evaluateShared(options: EvaluateOptions, processes: Processes): AsyncGenerator<PipelineEvent> {
  const protocol = PROTOCOLS[options.protocol ?? 'fid'];
  const { signal, size, reconstruction = false } = options;
  const out = options.out ?? join('evaluations', `${nameOf(options)}-${protocol.name}${curveName(options)}`);
  const curve = curveOf(options);
  checkSource({ ...options, ...curve?.points[0]?.changes, protocol });
  const others = (options.compare ?? []).map(readResult);
  const path = options.reference ?? (reconstruction ? options.source : undefined);
  if (path === undefined) throw new PipelineError('OPTIONS', 'Expected what to compare with: --reference PATH.');
  if (options.resamples === 1)
    throw new PipelineError('OPTIONS', 'An interval needs 2 resamples or more, or 0 for none.');
  if (reconstruction && options.heldOut !== undefined) {
    throw new PipelineError(
      'OPTIONS',
      '--held-out tells copies of the reference, and a reconstruction is to be one: leave it or --reconstruction out.',
    );
  }
  if (options.sweep !== undefined) {
    checkStrategies(
      { ...options, protocol },
      curve!.points.map(({ changes }) => changes),
    );
  }
  const extractor = openExtractor(protocol, options.inception);
  const owned: { dispose(): void }[] = [extractor];
  try {
    const reference = await openReference(path, protocol, extractor, { size, signal });
    if (reference.images !== undefined) owned.push(reference.images);
    // Before hours of work on the reference.
    const open = (changes: CurveOptions): Promise<Source> => openSource({ ...options, ...changes, protocol });
    let first: Source | undefined = await open(curve?.points[0]?.changes ?? {});
    owned.push({ dispose: () => first?.dispose() });
    if (options.judge === true) checkJudge(first.images, reference.images, reference.path);
    const request = requestOf(options, first.images, reference);
    refuseOtherResult(out, request);
    const work = options.features ?? join(out, 'features');
    mkdirSync(out, { recursive: true });
    mkdirSync(work, { recursive: true });
    const take = (changes: CurveOptions): Promise<Source> => {
      if (first === undefined) return open(changes);
      const opened = first;
      first = undefined;
      return Promise.resolve(opened);
    };
    const run: Run = { protocol, extractor, reference, work, processes, batch: options.batch, signal, open: take };
    yield { kind: 'stage', stage: 'evaluate', message: `${protocol.name}: ${protocol.what}` };
    const compared = yield* openCompared(run, options, owned);
    const found = yield* curve === undefined
      ? evaluateOne(run, options, compared, {})
      : evaluateCurve(run, options, compared, curve);
    if (found === undefined) {
      if (!processes.areTogether) {
        yield {
          kind: 'note',
          message: "other processes' features are not all there yet: run this again for the result",
        };
      }
      yield { kind: 'result', result: { out, complete: false } };
      return;
    }
    const result: EvaluationResult = { ...found, request };
    for (const message of result.warnings) yield { kind: 'warning', message };
    replaceWhole(join(out, 'result.json'), `${JSON.stringify(result, undefined, 2)}\n`);
    replaceWhole(join(out, 'result.md'), markdownTables([result, ...others.map((other) => other.result)]));
    const source = await open(changesOf(curve, result));
    try {
      const store = new FeatureStore(work, source.images, extractor, protocol, options.batch);
      const pictures = await reportPictures(source, result, reference.images, store);
      replaceWhole(join(out, 'samples.png'), pictures.samples.bytes);
      writeReport(join(out, 'report.html'), evaluationReport(result, others, pictures));
    } finally {
      source.dispose();
    }
    yield { kind: 'file', path: join(out, 'report.html'), what: 'tables and pictures' };
    yield { kind: 'result', result: { out, complete: true, ...result } };
  } finally {
    for (const one of owned) one.dispose();
  }
}

/** Features of the reference and of the pictures that were not trained on, and the judge. */
async function* openCompared(
  run: Run,
  options: EvaluateOptions,
  owned: { dispose(): void }[],
): AsyncGenerator<PipelineEvent, Compared> {
  const { reference } = run;
  const features = reference.images === undefined ? undefined : yield* featuresOf(run, reference.images, 'reference');
  let heldOut: FeatureStore | undefined;
  if (options.heldOut !== undefined) {
    if (reference.images === undefined) {
      throw new PipelineError(
        'OPTIONS',
        `--held-out is compared with the pictures that were trained on, and ${reference.path} holds statistics alone.`,
      );
    }
    const images = await openUnseen(options.heldOut, run.protocol, options);
    owned.push(images);
    heldOut = yield* featuresOf(run, images, 'held-out');
  }
  let judge: OpenJudge | undefined;
  const { rank, areTogether } = run.processes;
  if (options.judge === true && features?.isComplete === true && (rank === 0 || !areTogether)) {
    judge = openJudge(run.work, reference.images!, features);
    owned.push(judge.judge);
    const { heldOutAccuracy, numHeldOut, chance } = judge.judge.quality;
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    const message = `the class judge is right for ${percent(heldOutAccuracy)} of ${numHeldOut} held-out reference pictures (chance ${percent(chance)})`;
    yield { kind: 'note', message };
  }
  return { features, heldOut, judge };
}

async function* featuresOf(run: Run, images: ImageSet, stage: string): AsyncGenerator<PipelineEvent, FeatureStore> {
  const store = new FeatureStore(run.work, images, run.extractor, run.protocol, run.batch);
  yield { kind: 'stage', stage, message: `${images.count} pictures of ${images.path}` };
  yield* store.fill(images, run.extractor, { stage, ...run });
  return store;
}

/** The pictures' features alone. */
async function* fillOne(run: Run, changes: CurveOptions): AsyncGenerator<PipelineEvent> {
  const source = await run.open(changes);
  try {
    yield* featuresOf(run, source.images, 'samples');
  } finally {
    source.dispose();
  }
}

async function* evaluateOne(
  run: Run,
  options: EvaluateOptions,
  compared: Compared,
  changes: CurveOptions,
): AsyncGenerator<PipelineEvent, EvaluationResult | undefined> {
  const { protocol, extractor, reference, processes } = run;
  const source = await run.open(changes);
  try {
    const { images, strategy, tokenizer } = source;
    const samples = yield* featuresOf(run, images, 'samples');
    const stores = [samples, compared.features, compared.heldOut];
    if (stores.some((store) => store?.isComplete === false) || (processes.areTogether && processes.rank > 0)) {
      return undefined;
    }
    // Of processes that do not wait: the reference became complete after the judge was asked for.
    if (options.judge === true && compared.judge === undefined) return undefined;
    const { seed = 0, resamples } = options;
    const named = options.tokenizer ?? options.tokenizerWeights;
    const found = measure({
      protocol,
      extractor,
      images,
      samples,
      reference,
      referenceFeatures: compared.features,
      heldOut: compared.heldOut,
      judge: compared.judge,
      codebookSize: tokenizer?.codebookSize,
      seed,
      resamples,
    });
    const warnings = [...found.warnings, ...(await sizesDiffer(images, reference)), ...foreignReference(run, images)];
    return {
      formatVersion: 1,
      protocol: protocol.name,
      settings: protocol,
      extractor: { name: extractor.name, sha256: extractor.sha256, dim: extractor.dim },
      source: {
        path: images.path,
        kind: images.kind,
        numImages: images.count,
        fingerprint: images.fingerprint,
        ...(named === undefined ? {} : { tokenizer: named }),
        ...(strategy === undefined ? {} : { strategy, seed }),
      },
      reference: {
        path: reference.path,
        kind: reference.kind,
        sha256: reference.sha256,
        ...(compared.features === undefined ? {} : { numImages: compared.features.count }),
      },
      ...withoutNearest(found),
      warnings,
    };
  } finally {
    source.dispose();
  }
}

async function* evaluateCurve(
  run: Run,
  options: EvaluateOptions,
  compared: Compared,
  { setting, points }: Curve,
): AsyncGenerator<PipelineEvent, EvaluationResult | undefined> {
  const results: EvaluationResult[] = [];
  // Measuring is the first process's alone: the others would wait for it between the points, and not without end.
  if (run.processes.areTogether) {
    for (const { value, changes } of points) {
      yield { kind: 'note', message: `${setting} ${value}` };
      yield* fillOne(run, changes);
    }
    if (run.processes.rank > 0) return undefined;
  }
  const measuring = run.processes.areTogether ? { ...run, processes: ONE_PROCESS } : run;
  for (const { value, changes } of points) {
    yield { kind: 'note', message: `${setting} ${value}` };
    const result = yield* evaluateOne(measuring, options, compared, changes);
    if (result !== undefined) results.push(result);
  }
  if (results.length < points.length) return undefined;
  const distance = ({ metrics }: EvaluationResult): number => metrics[run.protocol.distance]!.value;
  const best = results.reduce((a, result, i) => (distance(result) < distance(results[a]!) ? i : a), 0);
  const measured = results.map(({ metrics }, i) => ({ value: points[i]!.value, metrics }));
  return { ...results[best]!, sweep: { setting, points: measured, best: points[best]!.value } };
}

function curveOf(options: EvaluateOptions): Curve | undefined {
  const { sweep, checkpoints, source } = options;
  if (sweep !== undefined && checkpoints !== undefined) {
    throw new PipelineError('OPTIONS', 'A sweep is of one model: leave --sweep or --checkpoints out.');
  }
  if (sweep !== undefined) {
    const { setting } = sweep;
    if (options[setting] === undefined) return sweepCurve(sweep);
    throw new PipelineError(
      'OPTIONS',
      `The sweep gives values of ${flagName(setting)}: leave the flag or the sweep out.`,
    );
  }
  return checkpoints === undefined ? undefined : checkpointCurve(source, checkpoints);
}

/** The best point of a curve, for the pictures of the report. */
function changesOf(curve: Curve | undefined, result: EvaluationResult): CurveOptions {
  return curve?.points.find(({ value }) => value === result.sweep?.best)?.changes ?? {};
}

/** What tells evaluations apart whose results would have the same place. A curve over checkpoints may grow with its run. */
function requestOf(options: EvaluateOptions, images: ImageSet, reference: Reference): EvaluationRequest {
  const { protocol = 'fid', sweep, checkpoints, source } = options;
  const pictures = ({ path, count }: ImageSet): string => `${count} of ${resolve(path)}`;
  const sampling = [...MODEL_OPTIONS, 'seed' as const].flatMap((name) =>
    options[name] === undefined ? [] : [`${name} ${options[name]}`],
  );
  return {
    protocol,
    reference: reference.images === undefined ? reference.sha256 : pictures(reference.images),
    curve: checkpoints === undefined ? JSON.stringify(sweep ?? null) : 'checkpoints',
    // A model's fingerprint holds how it is sampled.
    source:
      checkpoints !== undefined
        ? [resolve(source!), ...sampling].join(', ')
        : images.kind === 'model'
          ? images.fingerprint
          : pictures(images),
  };
}

/** Published numbers are against published files; those of tokenizers against the pictures that everyone packs anew. */
function foreignReference({ protocol, reference }: Run, { kind }: ImageSet): string[] {
  const { references, name } = protocol;
  if (kind === 'reconstruction' || references.length === 0 || references.includes(basename(reference.path))) return [];
  return [
    `${basename(reference.path)} is not the reference of the protocol ${name} (${references.join(', ')}): not comparable with published numbers.`,
  ];
}

/** All pairs would be the larger part of the file. */
function withoutNearest({ memorisation, ...rest }: Measurement): Measurement {
  if (memorisation === undefined) return rest;
  return { ...rest, memorisation: { ...memorisation, nearest: memorisation.nearest.slice(0, 32) } };
}

function curveName({ sweep, checkpoints }: EvaluateOptions): string {
  if (sweep !== undefined) return `-${kebabCase(sweep.setting)}`;
  return checkpoints === undefined ? '' : '-checkpoints';
}

function nameOf({ source, weights, reconstruction, tokenizer, tokenizerWeights }: EvaluateOptions): string {
  if (reconstruction === true) return basename(resolve(tokenizer ?? tokenizerWeights ?? 'reconstruction'));
  const path = resolve(source ?? weights ?? 'model');
  // A checkpoint's own name, step-0000500, says little without its run's, and all finished models are called model.
  const run = dirname(path);
  if (basename(path) === 'model') return basename(run);
  return basename(run) === 'checkpoints' ? `${basename(dirname(run))}-${basename(path)}` : basename(path);
}
