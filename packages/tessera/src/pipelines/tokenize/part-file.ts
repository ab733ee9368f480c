/**
 * The tokens of one share while it is being made: one record an image, all of the same length, in the order of the list:
 * a byte that says whether the image could be read, then its tokens.
 *
 * Nothing else is needed to go on after a kill: the length says how many records there are, and what belongs to a batch
 * that is not whole is cut off and made again. Reasons are written before the records that they explain.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { withFile } from '@tessera/formats/node';
import {
  type IntegerType,
  integerBytes,
  readIntegers,
  smallestIntegerType,
  writeIntegers,
} from '../../data/tokens/integers.ts';
import { variantsPerImage } from '../../data/variants.ts';
import { replaceFile } from '../../training/durable-file.ts';
import { PipelineError } from '../events.ts';
import type { WorkPlan } from './work-plan.ts';
import { batchesOf, type WorkShare } from './work-share.ts';

/** Never written: a stretch that the disk lost. */
const LOST = 0;
const READ = 1;
const BROKEN = 2;

const SYNC_MS = 10_000;

/** Tokens of an image, or why there are none. */
export type ImageRecord = { tokens: Int32Array } | { reason: string };

export interface BrokenImage {
  /** Place in the list of images. */
  index: number;
  path: string;
  reason: string;
}

/** Which images a share has, and where its records are. */
export class PartLayout {
  readonly path: string;
  readonly brokenPath: string;
  /** Images [first, end) of the list. */
  readonly first: number;
  readonly end: number;
  readonly numTokens: number;
  readonly dtype: IntegerType;
  readonly recordBytes: number;

  constructor(folder: string, plan: WorkPlan, share: WorkShare) {
    const number = (value: number): string => String(value).padStart(5, '0');
    const name = `part-${number(share.index)}-of-${number(share.count)}`;
    this.path = join(folder, `${name}.bin`);
    this.brokenPath = join(folder, `${name}.broken.jsonl`);
    const batches = batchesOf(share, Math.ceil(plan.numImages / plan.batchImages));
    this.first = Math.min(plan.numImages, batches.first * plan.batchImages);
    this.end = Math.min(plan.numImages, batches.end * plan.batchImages);
    this.numTokens = variantsPerImage(plan.recipe) * plan.gridSize ** 2;
    this.dtype = smallestIntegerType(plan.codebookSize);
    this.recordBytes = 1 + this.numTokens * integerBytes(this.dtype);
  }

  get bytes(): number {
    return (this.end - this.first) * this.recordBytes;
  }

  isWhole(): boolean {
    return existsSync(this.path) && statSync(this.path).size === this.bytes;
  }
}

/** Appends batches of records. */
export class PartWriter {
  /** Images done, counted from the share's first. */
  done: number;
  private readonly layout: PartLayout;
  private readonly descriptor: number;
  private lastSync = Date.now();

  /** Opens or begins a part, cut back to whole batches of `batchImages`. */
  constructor(layout: PartLayout, batchImages: number) {
    this.layout = layout;
    this.descriptor = openSync(layout.path, 'a');
    const total = layout.end - layout.first;
    const there = Math.floor(fstatSync(this.descriptor).size / layout.recordBytes);
    this.done = there >= total ? total : there - (there % batchImages);
    ftruncateSync(this.descriptor, this.done * layout.recordBytes);
    const kept = readBroken(layout.brokenPath).filter(({ index }) => index < layout.first + this.done);
    if (existsSync(layout.brokenPath)) replaceFile(layout.brokenPath, kept.map(line).join(''));
  }

  /** The records of the next images; `paths` names them for the report. */
  append(records: readonly ImageRecord[], paths: readonly string[]): void {
    const { recordBytes, dtype, first, brokenPath } = this.layout;
    const bytes = new Uint8Array(records.length * recordBytes);
    const broken: string[] = [];
    for (const [i, record] of records.entries()) {
      if ('tokens' in record) {
        bytes[i * recordBytes] = READ;
        writeIntegers(record.tokens, dtype, bytes, i * recordBytes + 1);
      } else {
        bytes[i * recordBytes] = BROKEN;
        broken.push(line({ index: first + this.done + i, path: paths[i]!, reason: record.reason }));
      }
    }
    if (broken.length > 0) appendFileSync(brokenPath, broken.join(''));
    for (let written = 0; written < bytes.length; ) written += writeSync(this.descriptor, bytes, written);
    this.done += records.length;
    if (Date.now() - this.lastSync > SYNC_MS) this.sync();
  }

  close(): void {
    this.sync();
    closeSync(this.descriptor);
  }

  private sync(): void {
    fsyncSync(this.descriptor);
    this.lastSync = Date.now();
  }
}

/** The records of a whole part in order; `tokens` is used again for the next. */
export function* readPart(layout: PartLayout): Generator<{ index: number; tokens: Int32Array | undefined }> {
  const tokens = new Int32Array(layout.numTokens);
  const records = Math.max(1, Math.floor(READ_BYTES / layout.recordBytes));
  for (let start = layout.first; start < layout.end; start += records) {
    const count = Math.min(records, layout.end - start);
    const offset = (start - layout.first) * layout.recordBytes;
    const bytes = withFile(layout.path, (reader) => reader.read(offset, count * layout.recordBytes));
    for (let i = 0; i < count; i++) {
      const at = i * layout.recordBytes;
      const status = bytes[at];
      if (status === READ)
        readIntegers(bytes.subarray(at + 1, at + layout.recordBytes), layout.dtype, tokens.length, tokens, 0);
      else if (status !== BROKEN) throw lost(layout.path, start + i, status);
      yield { index: start + i, tokens: status === READ ? tokens : undefined };
    }
  }
}

const READ_BYTES = 4 << 20;

function lost(path: string, image: number, status: number | undefined): PipelineError {
  const what = status === LOST ? 'was lost by the disk' : `starts with ${status}`;
  return new PipelineError(
    'TOKENIZE_PART',
    `${path}: the record of image ${image} ${what}: remove the file and run again.`,
  );
}

export function readBroken(path: string): BrokenImage[] {
  return readText(path)
    .split('\n')
    .flatMap((text) => {
      try {
        return [JSON.parse(text) as BrokenImage];
      } catch {
        // Torn by a kill; the image is looked at again.
        return [];
      }
    });
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function line(broken: BrokenImage): string {
  return `${JSON.stringify(broken)}\n`;
}
