// Where the time goes: a listener at the dispatch point that sums time, bytes and multiply-accumulates by operation,
// and writes each as an event of a Chrome trace. On a GPU the times are those of starting the kernels. Operations of
// other threads are not seen.

import { byteSizeOf } from '@tessera/formats';
import { type DispatchEvent, listen } from '../dispatch.ts';
import { Tensor } from '../tensor.ts';
import { VIEWS } from '../views.ts';
import { macsOf } from './macs.ts';
import { TraceFile } from './trace-file.ts';

export interface OperationTotals {
  name: string;
  calls: number;
  milliseconds: number;
  /** Read and written, counting every operand whole; views move none. */
  bytes: number;
  macs: number;
}

export interface ProfileSummary {
  /** From start to finish, operations or not. */
  milliseconds: number;
  /** The slowest first. */
  operations: OperationTotals[];
  /** Events that the trace file has no room for; the totals hold them. */
  eventsLeftOut: number;
}

export interface ProfileOptions {
  /** Chrome trace to write; default: totals only. */
  trace?: string;
  /** About 200 bytes each in the file; default 1,000,000. */
  maxEvents?: number;
}

/** Listens to this thread's operations until `finish`. */
export class Profile {
  private readonly totals = new Map<string, OperationTotals>();
  private readonly file: TraceFile | undefined;
  private readonly maxEvents: number;
  private readonly began = performance.now();
  private readonly stop: () => void;
  private events = 0;

  constructor({ trace, maxEvents = 1_000_000 }: ProfileOptions = {}) {
    this.file = trace === undefined ? undefined : new TraceFile(trace);
    this.maxEvents = maxEvents;
    this.stop = listen((event) => this.hear(event));
  }

  /** A named moment in the trace, such as the beginning of a stage. */
  mark(name: string): void {
    this.file?.event({ ph: 'i', s: 'p', cat: 'stage', name, ts: this.microseconds(performance.now()) });
  }

  /** Stops listening, completes the trace file, and says where the time went. */
  finish(): ProfileSummary {
    this.stop();
    const operations = [...this.totals.values()].sort((a, b) => b.milliseconds - a.milliseconds);
    const eventsLeftOut = Math.max(0, this.events - this.maxEvents);
    const summary = { milliseconds: performance.now() - this.began, operations, eventsLeftOut };
    this.file?.finish({ ...summary });
    return summary;
  }

  private hear(event: DispatchEvent): void {
    const { name } = event.operation;
    const [milliseconds, bytes, macs] = [event.ended - event.began, bytesOf(event), macsOf(event)];
    const totals = this.totals.get(name) ?? { name, calls: 0, milliseconds: 0, bytes: 0, macs: 0 };
    totals.calls++;
    totals.milliseconds += milliseconds;
    totals.bytes += bytes;
    totals.macs += macs;
    this.totals.set(name, totals);
    this.events++;
    if (this.file === undefined || this.events > this.maxEvents) return;
    const args = { shapes: shapesOf(event), bytes, macs };
    this.file.event({
      ph: 'X',
      cat: 'operation',
      name,
      ts: this.microseconds(event.began),
      dur: round(1000 * milliseconds),
      args,
    });
  }

  private microseconds(time: number): number {
    return round(1000 * (time - this.began));
  }
}

function bytesOf({ operation, args, result }: DispatchEvent): number {
  if (VIEWS.has(operation.name)) return 0;
  let bytes = 0;
  for (const value of [args, result].flat(2)) {
    if (value instanceof Tensor) bytes += value.numel * byteSizeOf(value.dtype);
  }
  return bytes;
}

/** Optimizers pass hundreds of tensors: the first few tell enough. */
const SHOWN = 6;

function shapesOf({ args }: DispatchEvent): string {
  const tensors = args.flat().filter((value) => value instanceof Tensor);
  const shown = tensors.slice(0, SHOWN).map((tensor) => `[${tensor.shape.join(', ')}]`);
  return shown.join(' ') + (tensors.length > SHOWN ? ` and ${tensors.length - SHOWN} more` : '');
}

function round(microseconds: number): number {
  return Math.round(microseconds * 1000) / 1000;
}
