/**
 * Shows a pipeline's events. For people: lines on stderr, and on a terminal one progress bar redrawn in place, with
 * rate and time left; without a terminal a plain line when a stage begins and ends and every 20 s in between. For
 * machines: one JSON object a line on stdout, and nothing else.
 */

import type { PipelineEvent } from '../pipelines/events.ts';
import { printable } from './printable.ts';

export interface OutputStream {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

export interface EventRenderer {
  show(event: PipelineEvent): void;
  /** Removes the bar; call before anything else is printed and at the end. */
  clear(): void;
}

type Progress = Extract<PipelineEvent, { kind: 'progress' }>;

const REDRAW_MS = 80;
const PLAIN_LINE_MS = 20_000;
const BAR_CELLS = 24;

/** One JSON object a line; numbers that JSON has no word for (a loss of NaN) become texts. */
export function jsonRenderer(out: OutputStream): EventRenderer {
  const plain = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
  return { show: (event) => out.write(`${JSON.stringify(event, plain)}\n`), clear: () => {} };
}

/** @param clock milliseconds, as Date.now */
export function textRenderer(out: OutputStream, clock: () => number = Date.now): EventRenderer {
  return new TextRenderer(out, clock);
}

/** Of a rank other than the first: what concerns it alone. */
export function quietRenderer(renderer: EventRenderer): EventRenderer {
  return {
    show: (event) => {
      if (event.kind === 'warning' || event.kind === 'file') renderer.show(event);
    },
    clear: () => renderer.clear(),
  };
}

class TextRenderer implements EventRenderer {
  private readonly out: OutputStream;
  private readonly clock: () => number;
  private stage = '';
  private stageBegan = 0;
  private last: Progress | undefined;
  private lastShown = Number.NEGATIVE_INFINITY;
  private barShown = false;

  constructor(out: OutputStream, clock: () => number) {
    this.out = out;
    this.clock = clock;
  }

  show(event: PipelineEvent): void {
    switch (event.kind) {
      case 'stage':
        this.endStage();
        this.beginStage(event.stage);
        this.line(event.message);
        break;
      case 'progress':
        this.progress(event);
        break;
      case 'note':
        this.line(event.message);
        break;
      case 'warning':
        this.line(`warning: ${event.message}`);
        break;
      case 'file':
        this.line(`${event.what}: ${event.path}`);
        break;
      case 'result':
        this.endStage();
        break;
      default:
        event satisfies never;
    }
  }

  clear(): void {
    if (this.barShown) this.out.write('\r\u001b[K');
    this.barShown = false;
  }

  private beginStage(stage: string): void {
    this.stage = stage;
    this.stageBegan = this.clock();
    this.last = undefined;
    this.lastShown = this.out.isTTY === true ? Number.NEGATIVE_INFINITY : this.clock();
  }

  /** The bar of a finished stage stays as a line. */
  private endStage(): void {
    const { last } = this;
    this.clear();
    this.last = undefined;
    if (last === undefined) return;
    this.out.write(`  ${doneLine(last, (this.clock() - this.stageBegan) / 1000)}\n`);
  }

  private line(message: string): void {
    this.clear();
    this.out.write(`${printable(message)}\n`);
    if (this.last !== undefined && this.out.isTTY === true) this.draw(this.last);
  }

  private progress(event: Progress): void {
    if (event.stage !== this.stage) {
      this.endStage();
      this.beginStage(event.stage);
    }
    this.last = event;
    if (event.done >= event.total) {
      this.endStage();
      return;
    }
    const due = this.out.isTTY === true ? REDRAW_MS : PLAIN_LINE_MS;
    if (this.clock() - this.lastShown < due) return;
    this.lastShown = this.clock();
    if (this.out.isTTY === true) this.draw(event);
    else this.out.write(`  ${progressText(this.timed(event))}\n`);
  }

  private draw(event: Progress): void {
    const text = `  ${bar(event.done, event.total)} ${progressText(this.timed(event))}`;
    this.out.write(`\r\u001b[K${text.slice(0, (this.out.columns ?? 80) - 1)}`);
    this.barShown = true;
  }

  /** Rate and time left by this renderer's clock where the pipeline does not say. */
  private timed(event: Progress): Progress {
    const elapsed = (this.clock() - this.stageBegan) / 1000;
    const rate = event.rate ?? (elapsed > 0.5 && event.done > 0 ? event.done / elapsed : undefined);
    if (rate === undefined || rate <= 0) return event;
    return { ...event, rate, secondsLeft: event.secondsLeft ?? (event.total - event.done) / rate };
  }
}

function progressText({ done, total, unit, rate, secondsLeft, detail }: Progress): string {
  const parts = [`${grouped(done)}/${grouped(total)} ${unit}`];
  if (rate !== undefined) parts.push(rateText(rate, unit));
  if (secondsLeft !== undefined && Number.isFinite(secondsLeft)) parts.push(`${formatDuration(secondsLeft)} left`);
  if (detail !== undefined) parts.push(printable(detail));
  return parts.join(', ');
}

function doneLine({ done, total, unit, detail }: Progress, seconds: number): string {
  const count = done === total ? grouped(done) : `${grouped(done)} of ${grouped(total)}`;
  return [`${count} ${unit} in ${formatDuration(seconds)}`, ...(detail === undefined ? [] : [detail])].join(', ');
}

function bar(done: number, total: number): string {
  const cells = total > 0 ? Math.min(BAR_CELLS, Math.floor((done / total) * BAR_CELLS)) : 0;
  return `${'━'.repeat(cells)}${'─'.repeat(BAR_CELLS - cells)}`;
}

/** Slow work reads better the other way round. */
function rateText(rate: number, unit: string): string {
  if (rate >= 1) return `${rate < 100 ? rate.toFixed(1) : grouped(Math.round(rate))} ${unit}/s`;
  return `${(1 / rate).toFixed(1)} s each`;
}

function grouped(value: number): string {
  return (Number.isInteger(value) ? String(value) : value.toFixed(1)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** Such as `4.2 s`, `3 min 05 s`, `2 h 10 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pad = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}
