/**
 * The folder of a run: settings, environment, growing files, samples, checkpoints (docs/architecture.md, "On disk").
 * `metrics.jsonl` holds only what follows from the settings, no times, so that an interrupted and resumed run leaves the
 * same bytes; times go to the TensorBoard file. Both are cut back to the length that the resumed checkpoint recorded, so
 * no line is ever there twice.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeFileVersionEvent, encodeScalarEvent } from '@tessera/formats';
import { parse, stringify } from 'yaml';
import { type Checkpoint, findCheckpoints } from './checkpoint.ts';
import { configDifferences, hashConfig } from './config-difference.ts';
import { AppendFile, replaceFile } from './durable-file.ts';
import { describeEnvironment, type Environment } from './environment.ts';
import type { Ranks } from './ranks.ts';
import { lockRun } from './run-lock.ts';
import { TrainingError } from './training-error.ts';

export type MetricsKind = 'train' | 'evaluation';

export class RunFolder {
  readonly path: string;
  /** Of the resolved settings. */
  readonly configHash: string;
  private readonly unlock: () => void;
  private metrics: AppendFile | undefined;
  private events: AppendFile | undefined;

  /** Use openRun. */
  constructor(path: string, configHash: string, unlock: () => void) {
    this.path = path;
    this.configHash = configHash;
    this.unlock = unlock;
  }

  get checkpoints(): string {
    return join(this.path, 'checkpoints');
  }

  /** The folder of sample pictures; exists. */
  get samples(): string {
    return join(this.path, 'samples');
  }

  get metricsPath(): string {
    return join(this.path, 'metrics.jsonl');
  }

  /** The newest whole checkpoint, if there is one; damaged ones are removed. */
  latestCheckpoint(): { checkpoint: Checkpoint | undefined; warnings: string[] } {
    const { checkpoints, warnings } = findCheckpoints(this.checkpoints);
    return { checkpoint: checkpoints.at(-1), warnings };
  }

  /** Opens the growing files, cut to the lengths of a checkpoint, or to nothing. Returns warnings. */
  openLogs(lengths: { metrics: number; events: number } = { metrics: 0, events: 0 }): string[] {
    this.closeLogs();
    this.metrics = new AppendFile(this.metricsPath, lengths.metrics);
    this.events = new AppendFile(eventsPath(this.path), lengths.events);
    const files = [this.metrics, this.events];
    const warnings = files
      .filter((file) => file.lost)
      .map((file) => `${file.path} had lost its end; lines are missing.`);
    if (this.events.length === 0) this.events.append(encodeFileVersionEvent(now()));
    return warnings;
  }

  /** Adds one line to metrics.jsonl, `{"step", "kind", ...values}`, and its curves, named `kind/value`. */
  log(step: number, kind: MetricsKind, values: Record<string, number>): void {
    const { metrics } = this.logs();
    metrics.append(Buffer.from(`${JSON.stringify({ step, kind, ...values })}\n`));
    this.curves(step, kind, values);
  }

  /** Adds points to curves alone: for times and rates, which no two runs share. */
  curves(step: number, group: string, values: Record<string, number>): void {
    const { events } = this.logs();
    const time = now();
    for (const [name, value] of Object.entries(values)) {
      events.append(encodeScalarEvent(step, time, `${group}/${name}`, value));
    }
  }

  /** Flushes the growing files and returns their lengths, for a checkpoint to record. */
  logLengths(): { metrics: number; events: number } {
    const { metrics, events } = this.logs();
    metrics.sync();
    events.sync();
    return { metrics: metrics.length, events: events.length };
  }

  /** Closes the files and lets others write the run. */
  close(): void {
    this.closeLogs();
    this.unlock();
  }

  private logs(): { metrics: AppendFile; events: AppendFile } {
    const { metrics, events } = this;
    if (metrics === undefined || events === undefined) {
      throw new TrainingError('RUN_FOLDER', `The logs of the run ${this.path} are not open: call openLogs first.`);
    }
    return { metrics, events };
  }

  private closeLogs(): void {
    this.metrics?.close();
    this.events?.close();
    this.metrics = undefined;
    this.events = undefined;
  }
}

/**
 * Makes a run folder, or opens the one that is there if it has the same settings.
 *
 * @param config the resolved settings of everything that decides the result, as plain data
 */
export function openRun(path: string, config: unknown): RunFolder {
  mkdirSync(path, { recursive: true });
  const unlock = lockRun(path);
  try {
    const file = join(path, 'config.yaml');
    const hash = hashConfig(config);
    if (existsSync(file)) requireSameConfig(file, config, hash);
    else replaceFile(file, `# The resolved settings of this run.\n${stringify(JSON.parse(JSON.stringify(config)))}`);
    recordStart(join(path, 'environment.json'));
    mkdirSync(join(path, 'samples'), { recursive: true });
    return new RunFolder(path, hash, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** openRun for a run of several ranks: the first one writes it, the others know where it is. */
export async function openRunTogether(path: string, config: unknown, ranks: Ranks): Promise<RunFolder> {
  const hash = hashConfig(config);
  await ranks.requireSame('settings', hash);
  let own: RunFolder | undefined;
  await ranks.decide(() => {
    own = openRun(path, config);
    return null;
  });
  return own ?? new RunFolder(path, hash, () => {});
}

function requireSameConfig(file: string, config: unknown, hash: string): void {
  let there: unknown;
  try {
    there = parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new TrainingError(
      'RUN_FOLDER',
      `${file} is not YAML (${(error as Error).message.split('\n')[0]}): choose another folder, or remove this one.`,
      { cause: error },
    );
  }
  if (hashConfig(there ?? null) === hash) return;
  const differences = configDifferences(there ?? null, config);
  const shown = differences.slice(0, 8).join('; ');
  throw new TrainingError(
    'RUN_CONFIG_DIFFERS',
    `${file} belongs to a run with other settings (${shown}${differences.length > 8 ? '; …' : ''}): give the same ` +
      'settings to go on with it, or another folder for a new run.',
  );
}

/** Adds this start to `environment.json`, `{ starts: [...] }`. */
function recordStart(file: string): void {
  let starts: Environment[] = [];
  try {
    const there = (JSON.parse(readFileSync(file, 'utf8')) as { starts?: Environment[] } | null)?.starts;
    if (Array.isArray(there)) starts = there;
  } catch {
    // Missing or unreadable: a record, not something that training needs.
  }
  replaceFile(file, `${JSON.stringify({ starts: [...starts, describeEnvironment()] }, undefined, 2)}\n`);
}

/** The TensorBoard file of the run: the one there, or a new one by TensorBoard's way of naming. */
function eventsPath(folder: string): string {
  const there = readdirSync(folder).find((name) => name.startsWith('events.out.tfevents.'));
  return join(folder, there ?? `events.out.tfevents.${Math.floor(now())}.tessera`);
}

/** Seconds since 1970. */
function now(): number {
  return Date.now() / 1000;
}
