/**
 * What training knows of tokens: samples by number. Three layouts on disk and mixtures of them look alike from here.
 *
 * A sample is an image; where several pictures of it are stored (mirror images, crops), each visit draws one of them, so
 * that an epoch sees every image once. In AutoNAT's and ENAT's npy files a sample is a row: their mirror images are rows
 * of their own. Ids are checked when they are read, each once, whatever wrote the file.
 */
import type { Draws } from '@tessera/schedule';
import { fromTypedArray, type Tensor } from '@tessera/torch';
import { DataError } from '../data-error.ts';

/** Samples that training reads; a data set on disk, or a part or mixture of some. */
export interface TokenRows {
  readonly numRows: number;
  readonly seqLen: number;
  readonly codebookSize: number;
  readonly classes: readonly string[];
  /**
   * tokens — [B, L] int64; labels — [B] int64; in the caller's scope. `draws` chooses among the stored pictures of each
   * image, `shard.draws(DrawPurpose.AUGMENT)` in training; without it, it is always the first one.
   */
  rows(indices: readonly number[], draws: Draws | undefined): { tokens: Tensor; labels: Tensor };
  /** Which sample comes at place `place` of a run; where absent, all of them once an epoch (training/data-order.ts). */
  itemAt?(seed: number, place: number): number;
}

/** Tokens on disk. Layouts say where the tokens of a picture are; the rest is here. */
export abstract class StoredTokens implements TokenRows {
  /** File or folder, for errors. */
  abstract readonly path: string;
  abstract readonly numRows: number;
  abstract readonly picturesPerImage: number;
  abstract readonly seqLen: number;
  abstract readonly codebookSize: number;
  abstract readonly classes: readonly string[];
  /** Pixels of a picture's side, where it is known. */
  abstract readonly imageSize: number | undefined;
  /** On disk. */
  abstract readonly byteLength: number;
  /** What tells this data from other data without its place, for the check of a resumed run. */
  abstract readonly identity: unknown;
  /** Writes the L tokens of a picture to `into` from `at` on and returns the label. */
  protected abstract read(image: number, picture: number, into: Int32Array, at: number): number;
  abstract dispose(): void;

  rows(indices: readonly number[], draws: Draws | undefined): { tokens: Tensor; labels: Tensor } {
    return gather(this.seqLen, indices, (index, into, at) => this.visit(index, draws, into, at));
  }

  /** A visit of training: one picture of an image. */
  visit(image: number, draws: Draws | undefined, into: Int32Array, at: number): number {
    const { picturesPerImage } = this;
    const picture = picturesPerImage > 1 && draws !== undefined ? draws.integer(picturesPerImage) : 0;
    return this.picture(image, picture, into, at);
  }

  /** Reads one picture and checks its numbers. */
  picture(image: number, picture: number, into: Int32Array, at: number): number {
    if (!(Number.isInteger(image) && image >= 0 && image < this.numRows)) {
      throw new DataError('TOKENS_RANGE', `${this.path}: expected an image below ${this.numRows}, got ${image}.`);
    }
    const label = this.read(image, picture, into, at);
    const where = `${this.path}, image ${image}`;
    if (label < 0 || label >= this.classes.length) {
      throw new DataError('TOKENS_RANGE', `${where}: expected labels in 0..${this.classes.length - 1}, got ${label}.`);
    }
    for (let i = at; i < at + this.seqLen; i++) {
      if (into[i]! < 0 || into[i]! >= this.codebookSize) {
        throw new DataError(
          'TOKENS_RANGE',
          `${where}: expected tokens in 0..${this.codebookSize - 1}, got ${into[i]}: they are another tokenizer's.`,
        );
      }
    }
    return label;
  }

  /** All pictures of all images, in order. `tokens` [pictures · L] is used again for the next image. */
  *images(): Generator<{ label: number; tokens: Int32Array }> {
    const { seqLen, picturesPerImage } = this;
    const tokens = new Int32Array(picturesPerImage * seqLen);
    for (let image = 0; image < this.numRows; image++) {
      const label = this.picture(image, 0, tokens, 0);
      for (let p = 1; p < picturesPerImage; p++) {
        const other = this.picture(image, p, tokens, p * seqLen);
        if (other === label) continue;
        throw new DataError(
          'TOKENS_BROKEN',
          `${this.path}: picture ${p} of image ${image} has the label ${other}, the first one ${label}.`,
        );
      }
      yield { label, tokens };
    }
  }

  /** Reads everything and checks every number. Yields the images done. */
  *verify(): Generator<number> {
    let done = 0;
    for (const _ of this.images()) yield ++done;
  }

  /** Reads a few images from all over, so that data of another tokenizer shows before a run begins. */
  protected probe(): this {
    const into = new Int32Array(this.seqLen);
    const count = Math.min(PROBES, this.numRows);
    for (let i = 0; i < count; i++)
      this.picture(Math.floor((i * (this.numRows - 1)) / Math.max(1, count - 1)), 0, into, 0);
    return this;
  }
}

const PROBES = 16;

/** Tensors of a batch: `read` writes L tokens of a sample and returns its label. */
export function gather(
  seqLen: number,
  indices: readonly number[],
  read: (index: number, into: Int32Array, at: number) => number,
): { tokens: Tensor; labels: Tensor } {
  const tokens = new Int32Array(indices.length * seqLen);
  const labels = Int32Array.from(indices, (index, i) => read(index, tokens, i * seqLen));
  return {
    tokens: fromTypedArray(tokens, [indices.length, seqLen]).to('int64'),
    labels: fromTypedArray(labels, [indices.length]).to('int64'),
  };
}

/** Writes images one after the other; nothing is where it should be before `finish()`. */
export interface TokenWriter {
  /** tokens — all pictures of an image, [pictures · L], in a buffer that the caller uses again. */
  add(label: number, tokens: ArrayLike<number>): void;
  finish(): void;
  /** Removes what was begun and not finished. */
  dispose(): void;
}

/** What every layout needs to know of what it stores. */
export interface TokensToWrite {
  numImages: number;
  picturesPerImage: number;
  gridSize: number;
  /** Pixels of a picture's side, where it is known. */
  imageSize?: number | undefined;
  codebookSize: number;
  /** Names by label. */
  classes: readonly string[];
  /** Of the images, the tokenizer and the settings; tells tokens from others. */
  madeFrom?: string | undefined;
}

/** The side of a square grid of L tokens. */
export function gridSideOf(seqLen: number, where: string): number {
  const side = Math.sqrt(seqLen);
  if (Number.isInteger(side) && side > 0) return side;
  throw new DataError('TOKENS_BROKEN', `${where}: expected a square number of tokens an image, got ${seqLen}.`);
}
