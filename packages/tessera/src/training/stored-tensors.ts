/**
 * Named tensors of a checkpoint, in one file or in parts. `optimizer.safetensors` holds all of them; where each rank keeps
 * only a share, it writes that as its own part, named as Hugging Face names parts: `optimizer-00002-of-00004.safetensors`.
 * A part holds whole tensors, or flat pieces of them; what they are pieces of is in the file's metadata, `pieces`:
 * {"layers.0.wo.weight": {"shape": [64, 64], "start": 1024}}. So any number of ranks can go on from any other's parts,
 * each reading only what it needs.
 */

import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { byteSizeOf, readSafetensorsHeader, safetensorsChunks } from '@tessera/formats';
import { type FileByteReader, openFile } from '@tessera/formats/node';
import { type DType, fromBytes, isDType, saveSafetensors, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import { TrainingError } from './training-error.ts';

/** What a piece, a flat run of a tensor's numbers in C order, is a piece of. */
export interface Piece {
  /** Of the whole. */
  readonly shape: readonly number[];
  /** Its first number's place in the whole. */
  readonly start: number;
}

const piecesSchema = z.record(z.string(), z.strictObject({ shape: z.array(z.int().min(0)), start: z.int().min(0) }));

/** Such as `optimizer-00002-of-00004.safetensors` for rank 1 of 4. */
export function partName(stem: string, rank: number, size: number): string {
  return `${stem}-${String(rank + 1).padStart(5, '0')}-of-${String(size).padStart(5, '0')}.safetensors`;
}

/** Writes a part; tensors that `pieces` names are flat pieces of larger ones. */
export function savePart(
  path: string,
  tensors: Iterable<readonly [string, Tensor]>,
  pieces: ReadonlyMap<string, Piece> = new Map(),
): void {
  saveSafetensors(path, tensors, pieces.size === 0 ? {} : { pieces: JSON.stringify(Object.fromEntries(pieces)) });
}

/** Where some of a tensor's numbers are. */
interface Extent {
  reader: FileByteReader;
  /** In the file. */
  offset: number;
  start: number;
  length: number;
}

interface Stored {
  dtype: DType;
  shape: readonly number[];
  extents: Extent[];
}

/** Opened for reading: names and shapes at once, numbers when they are asked for. */
export class StoredTensors {
  /** The file, or the first of the parts: for messages. */
  readonly path: string;
  private readonly readers: FileByteReader[] = [];
  private readonly stored = new Map<string, Stored>();

  /** @param stem such as `optimizer` */
  constructor(folder: string, stem: string) {
    const whole = join(folder, `${stem}.safetensors`);
    const parts = partsIn(folder, stem);
    const paths = parts.length > 0 ? parts : [whole];
    this.path = paths[0]!;
    try {
      for (const path of paths) this.open(path);
      for (const [name, tensor] of this.stored) this.requireWhole(name, tensor);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get names(): string[] {
    return [...this.stored.keys()];
  }

  shape(name: string): readonly number[] {
    return this.find(name).shape;
  }

  dtype(name: string): DType {
    return this.find(name).dtype;
  }

  /** A whole tensor, in the caller's scope. */
  read(name: string): Tensor {
    const { shape, dtype } = this.find(name);
    return fromBytes(this.bytes(name, 0, count(shape)), shape, dtype);
  }

  readAll(wanted: (name: string) => boolean = () => true): Map<string, Tensor> {
    return new Map(this.names.filter(wanted).map((name) => [name, this.read(name)]));
  }

  /** Some of a tensor's numbers in C order, [length]. */
  readRun(name: string, start: number, length: number): Tensor {
    return fromBytes(this.bytes(name, start, length), [length], this.find(name).dtype);
  }

  /** The same as bytes. */
  bytes(name: string, start: number, length: number): Uint8Array {
    const { dtype, extents } = this.find(name);
    const width = byteSizeOf(dtype);
    const bytes = new Uint8Array(length * width);
    for (const extent of extents) {
      const from = Math.max(start, extent.start);
      const to = Math.min(start + length, extent.start + extent.length);
      if (to <= from) continue;
      const found = extent.reader.read(extent.offset + (from - extent.start) * width, (to - from) * width);
      bytes.set(found, (from - start) * width);
    }
    return bytes;
  }

  close(): void {
    for (const reader of this.readers) reader.close();
  }

  private find(name: string): Stored {
    const found = this.stored.get(name);
    if (found === undefined) throw damaged(this.path, `there is no tensor "${name}"`);
    return found;
  }

  private open(path: string): void {
    const reader = openFile(path);
    this.readers.push(reader);
    const { metadata, tensors } = readSafetensorsHeader(reader);
    const pieces = piecesOf(metadata.pieces, path);
    for (const [name, { dtype, shape, offset }] of tensors) {
      if (!isDType(dtype)) throw damaged(path, `"${name}" is ${dtype}, which no checkpoint of ours holds`);
      const piece = pieces.get(name);
      const whole = piece?.shape ?? shape;
      const known = this.stored.get(name) ?? { dtype, shape: whole, extents: [] };
      if (known.dtype !== dtype || known.shape.join() !== whole.join()) {
        throw damaged(path, `"${name}" is ${dtype} [${whole}], ${known.dtype} [${known.shape}] in another part`);
      }
      known.extents.push({ reader, offset, start: piece?.start ?? 0, length: count(shape) });
      this.stored.set(name, known);
    }
  }

  /** Pieces may overlap (a counter is in every part), but must leave no hole. */
  private requireWhole(name: string, { shape, extents }: Stored): void {
    extents.sort((a, b) => a.start - b.start);
    let end = 0;
    for (const { start, length } of extents) {
      if (start > end) break;
      end = Math.max(end, start + length);
    }
    const wanted = count(shape);
    if (end !== wanted) throw damaged(this.path, `of the ${wanted} numbers of "${name}", number ${end} is in no part`);
  }
}

/**
 * The whole file of a checkpoint's tensors, for readers of safetensors. Where there are only parts it is put together from
 * them beside them, whole or not at all, one tensor in memory at a time.
 */
export function wholeFile(folder: string, stem: string): string {
  const path = join(folder, `${stem}.safetensors`);
  if (existsSync(path) || partsIn(folder, stem).length === 0) return path;
  const temporary = `${path}.${randomUUID()}.tmp`;
  const stored = new StoredTensors(folder, stem);
  try {
    const items = stored.names.map((name) => {
      const [shape, dtype] = [stored.shape(name), stored.dtype(name)];
      return [name, { dtype, shape, bytes: () => stored.bytes(name, 0, count(shape)) }] as const;
    });
    const file = openSync(temporary, 'w');
    try {
      for (const chunk of safetensorsChunks(items)) {
        for (let at = 0; at < chunk.length; ) at += writeSync(file, chunk, at);
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } finally {
    stored.close();
    rmSync(temporary, { force: true });
  }
  return path;
}

/** Whether a checkpoint has these tensors, in one file or in parts. */
export function hasStored(folder: string, stem: string): boolean {
  return existsSync(join(folder, `${stem}.safetensors`)) || partsIn(folder, stem).length > 0;
}

function partsIn(folder: string, stem: string): string[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  const pattern = /^(.*)-(\d{5})-of-(\d{5})\.safetensors$/;
  const found = readdirSync(folder).filter((name) => pattern.exec(name)?.[1] === stem);
  return found.sort().map((name) => join(folder, name));
}

function piecesOf(text: string | undefined, path: string): Map<string, Piece> {
  if (text === undefined) return new Map();
  try {
    return new Map(Object.entries(piecesSchema.parse(JSON.parse(text))));
  } catch (cause) {
    throw damaged(path, 'its list of pieces cannot be read', cause);
  }
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

function damaged(path: string, problem: string, cause?: unknown): TrainingError {
  return new TrainingError(
    'RUN_FOLDER',
    `${basename(path)} (${path}): ${problem}. Remove this checkpoint: the run goes on from the one before.`,
    { cause },
  );
}
