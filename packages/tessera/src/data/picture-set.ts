/**
 * The pictures of a training by number: decoded once and kept while they fit a budget of memory, beyond it decoded each
 * time they are asked for, in the workers of image-pool.ts. A training knows its order in advance, so it says before a
 * step what the step will look at (`prepare`) and what comes after it; the workers are at the next step's pictures while
 * this one is computed.
 *
 * A random crop (crops.ts, LlamaGen's) is another picture at each visit and never kept. It is a function of the three
 * random words that the visit carries, so a resumed run sees the same pixels.
 */

import { DataError } from './data-error.ts';
import type { ImageItem } from './image-folder.ts';
import { ImagePool } from './image-pool.ts';
import type { CropWords } from './prepare-image.ts';
import { recipeSchema } from './variants.ts';

/** A look at one picture: its centre, or a random crop. */
export interface Visit {
  index: number;
  crop?: CropWords;
}

/** Pictures of one size. */
export interface PictureSource {
  readonly numImages: number;
  readonly height: number;
  readonly width: number;
  /** Whether visits may ask for random crops. */
  readonly canCrop?: boolean;
  /** Awaited before `pixels` is asked for the visits of `now`; `soon` comes after them. Absent where all is in memory. */
  prepare?(now: readonly Visit[], soon: readonly Visit[]): Promise<void>;
  /** [Y, X, 3] uint8. */
  pixels(visit: Visit): Uint8Array;
}

/** Pictures in one array, with their labels. */
export interface LabelledPixels {
  /** [N, size, size, 3] uint8. */
  pixels: Uint8Array;
  size: number;
  /** [N] class labels. */
  labels: number[];
}

export interface PictureSetOptions {
  /** Pixels of a side. */
  size: number;
  /** Bytes of decoded pictures that are kept. */
  memory: number;
}

type Decoded = Uint8Array | { reason: string };

/** Broken files in a row after which a folder is given up. */
const BROKEN_IN_A_ROW = 100;

export class PictureSet implements PictureSource {
  readonly size: number;
  readonly canCrop = true;
  /** What could not be read so far, in the order in which it was found. */
  readonly skipped: { path: string; reason: string }[] = [];
  private items: readonly ImageItem[];
  private readonly capacity: number;
  private readonly kept = new Map<ImageItem, Uint8Array>();
  private readonly broken = new Map<ImageItem, { reason: string }>();
  private readonly underWay = new Map<string, Promise<Decoded>>();
  private ready = new Map<string, Uint8Array>();
  private pool: ImagePool | undefined;

  constructor(items: readonly ImageItem[], { size, memory }: PictureSetOptions) {
    this.items = items;
    this.size = size;
    this.capacity = Math.floor(memory / (size * size * 3));
  }

  get numImages(): number {
    return this.items.length;
  }

  get height(): number {
    return this.size;
  }

  get width(): number {
    return this.size;
  }

  /** [N] class labels. */
  get labels(): number[] {
    return this.items.map(({ label }) => label);
  }

  /** Whether all pictures fit the budget. */
  get fits(): boolean {
    return this.items.length <= this.capacity;
  }

  /**
   * Decodes everything, for a set that fits: files that cannot be read are no longer in it afterwards. Yields the number
   * done.
   */
  async *load(signal?: AbortSignal): AsyncGenerator<number> {
    let done = 0;
    const loading = this.workers().prepare(this.items, { ahead: AHEAD, signal });
    for await (const result of loading) {
      const item = this.items[done++]!;
      if ('pixels' in result) this.kept.set(item, result.pixels);
      else this.giveUp(item, result.reason);
      yield done;
    }
    this.items = this.items.filter((item) => this.kept.has(item));
    // What is left to do for the workers are random crops, if there are any.
    await this.close();
  }

  async prepare(now: readonly Visit[], soon: readonly Visit[] = []): Promise<void> {
    const wanted = new Set([...now, ...soon].map(keyOf));
    for (const key of this.underWay.keys()) if (!wanted.has(key)) this.underWay.delete(key);
    for (const visit of [...now, ...soon]) this.start(visit);
    const ready = new Map<string, Uint8Array>();
    for (const visit of now) {
      const key = keyOf(visit);
      if (!ready.has(key)) ready.set(key, await this.pictureFor(visit));
    }
    this.ready = ready;
  }

  /** Of a visit that was prepared, or of a picture that is kept. */
  pixels(visit: Visit): Uint8Array {
    const found = this.ready.get(keyOf(visit)) ?? (visit.crop ? undefined : this.kept.get(this.items[visit.index]!));
    if (found !== undefined) return found;
    throw new DataError('NOT_PREPARED', `Picture ${visit.index} was asked for and not prepared before.`);
  }

  /** The first `count` pictures that can be read, in one array. */
  async block(count: number): Promise<LabelledPixels> {
    for await (const block of this.blocks(Math.min(count, this.numImages))) return block;
    return { pixels: new Uint8Array(0), size: this.size, labels: [] };
  }

  /** All pictures that can be read, in order, `count` at a time. */
  async *blocks(count: number): AsyncGenerator<LabelledPixels> {
    const bytes = this.size ** 2 * 3;
    let pixels = new Uint8Array(count * bytes);
    let labels: number[] = [];
    for (let index = 0; index < this.numImages; index++) {
      for (let next = index; next < Math.min(this.numImages, index + AHEAD); next++) this.start({ index: next });
      const picture = await this.take({ index });
      if (!(picture instanceof Uint8Array)) continue;
      pixels.set(picture, labels.length * bytes);
      labels.push(this.items[index]!.label);
      if (labels.length < count) continue;
      yield { pixels, size: this.size, labels };
      [pixels, labels] = [new Uint8Array(count * bytes), []];
    }
    if (labels.length > 0) yield { pixels: pixels.subarray(0, labels.length * bytes), size: this.size, labels };
  }

  /** Ends the workers; they start again when they are needed. */
  async close(): Promise<void> {
    const { pool } = this;
    this.pool = undefined;
    this.underWay.clear();
    await pool?.close();
  }

  /** A broken file is replaced by the next of the list that can be read: a function of the files alone. */
  private async pictureFor({ index, crop }: Visit): Promise<Uint8Array> {
    for (let i = 0; i < Math.min(BROKEN_IN_A_ROW, this.numImages); i++) {
      const at = (index + i) % this.numImages;
      const picture = await this.take(crop === undefined ? { index: at } : { index: at, crop });
      if (picture instanceof Uint8Array) return picture;
    }
    const { reason } = this.broken.get(this.items[index]!)!;
    throw new DataError('FOLDER_ALL_BROKEN', `None of ${BROKEN_IN_A_ROW} images in a row can be read: ${reason}`);
  }

  private start(visit: Visit): Promise<Decoded> {
    const item = this.items[visit.index]!;
    const key = keyOf(visit);
    const known = this.broken.get(item) ?? (visit.crop === undefined ? this.kept.get(item) : undefined);
    if (known !== undefined) return Promise.resolve(known);
    const before = this.underWay.get(key);
    if (before !== undefined) return before;
    const { crop } = visit;
    const decoding = this.workers().prepareOne(crop === undefined ? item : { ...item, crop });
    const picture = decoding.then((result): Decoded => {
      if (!('pixels' in result)) return this.giveUp(item, result.reason);
      if (crop === undefined && this.kept.size < this.capacity) this.kept.set(item, result.pixels);
      return result.pixels;
    });
    // Awaited in its turn; until then a failure is no unhandled one.
    picture.catch(() => {});
    this.underWay.set(key, picture);
    return picture;
  }

  private async take(visit: Visit): Promise<Decoded> {
    const picture = await this.start(visit);
    this.underWay.delete(keyOf(visit));
    return picture;
  }

  private giveUp(item: ImageItem, reason: string): { reason: string } {
    const known = this.broken.get(item);
    if (known !== undefined) return known;
    this.broken.set(item, { reason });
    this.skipped.push({ path: item.path, reason });
    return { reason };
  }

  private workers(): ImagePool {
    this.pool ??= new ImagePool(recipeSchema.parse({ size: this.size, alpha: 'white' }));
    return this.pool;
  }
}

/** Pictures in flight where all are read in order. */
const AHEAD = 64;

function keyOf({ index, crop }: Visit): string {
  return crop === undefined ? String(index) : `${index} ${crop.join(' ')}`;
}
