// A file in Chrome's trace format (JSON object form), written as the events come, so that memory stays bounded. It has
// a temporary name until it is whole: whoever finds it under its own name can open it in Perfetto or chrome://tracing.
//
// Format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { threadId } from 'node:worker_threads';

const BUFFER_CHARACTERS = 1 << 16;

export class TraceFile {
  private readonly path: string;
  private readonly temporary: string;
  private readonly descriptor: number;
  private pending: string[] = [];
  private characters = 0;
  private first = true;

  /** Opens the temporary file at once: a place that cannot be written fails before the work. */
  constructor(path: string) {
    this.path = path;
    this.temporary = `${path}.${process.pid}-${threadId}.tmp`;
    this.descriptor = openSync(this.temporary, 'w');
    this.write('{"displayTimeUnit":"ms","traceEvents":[\n');
    this.event({ ph: 'M', name: 'process_name', args: { name: 'tessera' } });
  }

  /** One event; process and thread are added. */
  event(fields: Readonly<Record<string, unknown>>): void {
    this.write(`${this.first ? '' : ',\n'}${JSON.stringify({ pid: process.pid, tid: threadId, ...fields })}`);
    this.first = false;
  }

  /** Ends the file and gives it its name. */
  finish(otherData: Readonly<Record<string, unknown>>): void {
    try {
      this.write(`\n],"otherData":${JSON.stringify(otherData)}}\n`);
      this.flush();
      closeSync(this.descriptor);
      renameSync(this.temporary, this.path);
    } catch (error) {
      rmSync(this.temporary, { force: true });
      throw error;
    }
  }

  private write(text: string): void {
    this.pending.push(text);
    this.characters += text.length;
    if (this.characters >= BUFFER_CHARACTERS) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.from(this.pending.join(''));
    for (let done = 0; done < bytes.length; ) done += writeSync(this.descriptor, bytes, done);
    this.pending = [];
    this.characters = 0;
  }
}
