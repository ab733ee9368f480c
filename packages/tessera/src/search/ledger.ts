/**
 * The record of a search: a line an evaluation, appended and flushed to the disk when it is finished, in whatever order.
 * It is the search's memory (method.ts): nothing that stands here is measured again. A last line that a kill cut short
 * is dropped; any other broken line is an error.
 */

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { SearchError } from './search-error.ts';

const recordSchema = strictConfig({
  /** Place in the order in which the method asked. */
  index: z.int().min(0),
  phase: z.string(),
  point: z.array(z.number()),
  /** Of the images of a whole evaluation. */
  share: z.number().gt(0).max(1),
  numImages: z.int().min(0),
  seedBlock: z.int().min(0),
  value: z.number(),
  /** It could not be measured; the value is the worst that was known. */
  failed: z.literal(true).optional(),
  stdError: z.number().optional(),
  /** That the evaluation took. */
  seconds: z.number(),
  /** Into the search, all starts of it together, when it was finished. */
  atSeconds: z.number(),
});

export type EvaluationRecord = z.output<typeof recordSchema>;

export class Ledger {
  private readonly path: string | undefined;
  private readonly byIndex = new Map<number, EvaluationRecord>();
  private readonly inOrder: EvaluationRecord[] = [];

  /** @param path undefined: in memory alone */
  constructor(path: string | undefined, records: readonly EvaluationRecord[] = []) {
    this.path = path;
    for (const record of records) this.remember(record);
  }

  /** Reads what is there; a missing file is an empty record. */
  static open(path: string): Ledger {
    if (!existsSync(path)) return new Ledger(path);
    const text = readFileSync(path, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
    const lines = whole.split('\n').slice(0, -1);
    return new Ledger(
      path,
      lines.map((line, i) => parseRecord(line, `${path}, line ${i + 1}`)),
    );
  }

  /** In the order in which they were finished. */
  get records(): readonly EvaluationRecord[] {
    return this.inOrder;
  }

  get(index: number): EvaluationRecord | undefined {
    return this.byIndex.get(index);
  }

  append(record: EvaluationRecord): void {
    this.remember(record);
    if (this.path === undefined) return;
    const file = openSync(this.path, 'a');
    try {
      writeSync(file, `${JSON.stringify(record)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  private remember(record: EvaluationRecord): void {
    if (this.byIndex.has(record.index)) {
      throw new SearchError('SEARCH_RECORD', `${this.path ?? 'The record'} holds evaluation ${record.index} twice.`);
    }
    this.byIndex.set(record.index, record);
    this.inOrder.push(record);
  }
}

function parseRecord(line: string, where: string): EvaluationRecord {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw new SearchError('SEARCH_RECORD', `${where} is broken: remove the search's folder, or choose another --out.`, {
      cause: error,
    });
  }
  return parseConfig(recordSchema, json, where);
}
